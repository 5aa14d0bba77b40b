"""Where rule sets come from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from xflowrl._engine import RuleSet

# In the order of the rules' ids.
CORE_FILES = (
    "fusion.rules",
    "folding.rules",
    "merging.rules",
    "exchange.rules",
    "algebra.rules",
    "elimination.rules",
)


def load_core() -> RuleSet:
    """Returns the built-in rules, every one checked to be sound by the test suite."""
    folder = resources.files("xflowrl.rules")
    sets = [RuleSet.parse((folder / name).read_text("utf-8"), name) for name in CORE_FILES]
    return RuleSet.join(sets, "core")


def load_file(path: str) -> RuleSet:
    """Reads a rule file.

    Args:
        path: of a text file in the rule language (see README.md beside this module).

    Raises:
        ValueError: the file cannot be read, or is wrong: file, line, column and what is wrong.
    """
    file = Path(path)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f'rule file "{path}" is not UTF-8 text') from None
    except OSError as error:
        raise ValueError(f'rule file "{path}" cannot be read: {error.strerror}') from error
    return RuleSet.parse(text, str(file))
