"""What a result depends on beside its configuration: versions, and the commit of the source."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

_VERSIONED = (
    *("xflowrl", "numpy", "onnx", "onnxruntime"),
    *("torch", "torch-geometric", "pytorch-lightning", "gymnasium", "hydra-core", "wandb"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on; what is absent is left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _VERSIONED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, "-dirty" if changed; None if none."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"]
    command += ["--exclude", "*"]  # the commit itself, never a tag's name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
