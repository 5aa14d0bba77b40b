"""Rules: text files, their loader, and the check that each is sound."""

from __future__ import annotations

from xflowrl.rules.loading import load_core, load_file

__all__ = ["load_core", "load_file"]
