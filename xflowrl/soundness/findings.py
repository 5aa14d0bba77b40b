"""What the soundness checker has found about a rule, kept between runs by the rule's text."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from xflowrl.shortage import space_for
from xflowrl.soundness.sexpr import read_rule

# Raised when the checker comes to see more: what it said before no longer counts.
_CHECKER_VERSION = 3


@dataclass(frozen=True)
class Finding:
    """What is known about a rule.

    Attributes:
        status: "sound" as far as tried; "unsound"; "unchecked" if it never applied, or speaks of
            something for which no instances can be drawn.
        num_applied: how often it was applied and compared.
        detail: a counter-example with shapes and attributes, or why nothing could be tried.
    """

    rule: str
    status: Literal["sound", "unsound", "unchecked"]
    num_applied: int
    detail: str = ""


def default_path() -> Path:
    """`$XDG_CACHE_HOME/xflowrl/rule_verdicts.json`, in `~/.cache` where that is not set."""
    cache: str | Path | None = os.environ.get("XDG_CACHE_HOME")
    if not cache:
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:  # no HOME, and the user is not known to the system
            cache = Path(tempfile.gettempdir()) / f"xflowrl-{os.getuid()}"
    return Path(cache) / "xflowrl" / "rule_verdicts.json"


class Findings:
    """A file of findings. The key of a rule is its text, whatever its layout and comments.

    Raises:
        ValueError: from every method, if the file is no file of findings.
    """

    def __init__(self) -> None:
        self.path = default_path()

    def get(self, text: str, *, is_commutative: bool) -> Finding | None:
        """The finding on a rule, or None if it has not been checked."""
        entry = self._read().get(_key(text, is_commutative))
        return None if entry is None else Finding(**entry)

    def put(self, text: str, finding: Finding, *, is_commutative: bool) -> None:
        """Keeps a finding; the file is replaced in one step."""
        entries = self._read()
        entries[_key(text, is_commutative)] = asdict(finding)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            space_for(self.path),
            tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".xflowrl-") as folder,
        ):
            unfinished = Path(folder) / self.path.name
            unfinished.write_text(json.dumps(entries, indent=1), encoding="utf-8")
            unfinished.replace(self.path)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            entries = None
        if not isinstance(entries, dict):
            raise ValueError(f"{self.path} is no file of rule findings; move it away")
        return entries


def _key(text: str, is_commutative: bool) -> str:
    content = f"{_CHECKER_VERSION} {is_commutative} {read_rule(text).text}"
    return hashlib.sha256(content.encode()).hexdigest()
