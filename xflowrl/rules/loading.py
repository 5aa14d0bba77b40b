"""Where rule sets come from."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

from xflowrl._engine import RuleSet

_log = logging.getLogger(__name__)

_NAMED = 5  # unchecked rules that the warning names

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
    """Reads a user's rules; one whose soundness has not been checked is used with a warning.

    Args:
        path: of a text file in the rule language (see README.md beside this module).

    Raises:
        ValueError: the file cannot be read, or is wrong (file, line, column and what is wrong), or
            the soundness checker has found a rule of it to be unsound.
    """
    from xflowrl.soundness.findings import Findings

    rules = parse_file(path)
    findings = Findings()
    unchecked = []
    for rule in rules.rules:
        finding = findings.get(rule.text, is_commutative=rules.commutative)
        if finding is not None and finding.status == "unsound":
            raise ValueError(
                f'rule "{rule.name}" ({rule.filename}:{rule.line}) is unsound; see '
                f"`python -m xflowrl.rules check {path}`, and correct or remove it"
            )
        if finding is None or finding.status == "unchecked":
            unchecked.append(rule.name)
    if unchecked:
        more = len(unchecked) - _NAMED
        _log.warning(
            "%s: not checked to be sound: %s; run `python -m xflowrl.rules check %s`",
            path,
            ", ".join(unchecked[:_NAMED]) + (f" and {more} more" if more > 0 else ""),
            path,
        )
    return rules


def parse_file(path: str) -> RuleSet:
    """The rules of a file, whatever is known of their soundness.

    Raises ValueError if it cannot be read, or is wrong (file, line, column and what is wrong).
    """
    file = Path(path)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f'rule file "{path}" is not UTF-8 text') from None
    except OSError as error:
        raise ValueError(f'rule file "{path}" cannot be read: {error.strerror}') from error
    except MemoryError:
        raise ValueError(f'rule file "{path}" is too large for memory') from None
    return RuleSet.parse(text, str(file))
