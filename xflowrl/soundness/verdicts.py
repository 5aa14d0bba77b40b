"""Verdicts of the soundness checker, kept between runs by the text of the rule."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from xflowrl.soundness.text import read_rule
from xflowrl.soundness.verdict import Verdict

# Raised when the checker comes to see more: what it said before no longer counts.
_CHECKER_VERSION = 1


def default_path() -> Path:
    """`$XDG_CACHE_HOME/xflowrl/rule_verdicts.json`, in `~/.cache` where that is not set."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xflowrl" / "rule_verdicts.json"


class Verdicts:
    """A file of verdicts. The key of a rule is its text, whatever its layout and comments.

    Raises:
        ValueError: from every method, if the file is no file of verdicts.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    def get(self, text: str, *, is_commutative: bool) -> Verdict | None:
        """The verdict on a rule, or None if it has not been checked."""
        entry = self._read().get(_key(text, is_commutative))
        return None if entry is None else Verdict(**entry)

    def put(self, text: str, verdict: Verdict, *, is_commutative: bool) -> None:
        """Keeps a verdict; the file is replaced in one step."""
        entries = self._read()
        entries[_key(text, is_commutative)] = {
            "rule": verdict.rule,
            "status": verdict.status,
            "num_applied": verdict.num_applied,
            "detail": verdict.detail,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=self.path.parent, delete=False, encoding="utf-8"
        ) as file:
            json.dump(entries, file, indent=1)
        Path(file.name).replace(self.path)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            entries = None
        if not isinstance(entries, dict):
            raise ValueError(f"{self.path} is no file of rule verdicts; delete it")
        return entries


def _key(text: str, is_commutative: bool) -> str:
    content = f"{_CHECKER_VERSION} {is_commutative} {read_rule(text).text}"
    return hashlib.sha256(content.encode()).hexdigest()
