"""Random rewrites of many random model files; counts what was wrong, refused or crashed.

python scripts/optimize_random_files.py [--seeds 2000] [--first 0]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "files"))
from delivering import deliver
from judge import complaints
from random_models import random_model


def main() -> None:
    """Prints a line for each file that is not right, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        outcome, detail = outcome_of(seed)
        counts[outcome] += 1
        if outcome not in {"rewritten", "copied"}:
            print(f"seed {seed}: {outcome}: {detail[:200]}", flush=True)
    print(", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items())))


def outcome_of(seed: int) -> tuple[str, str]:
    """What became of a seed's file, and why."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "model.onnx", Path(folder) / "result.onnx"
        onnx.save(random_model(seed), path)
        try:
            deliver(path, out, agent="random_search", seed=seed, max_iterations=20)
        except ValueError as error:
            return "refused", str(error)
        except Exception as error:  # whatever it is, it is what we look for
            return "crashed", f"{type(error).__name__}: {error}"
        found = complaints(path, out)
        same = path.read_bytes() == out.read_bytes()
        return ("wrong", "; ".join(found)) if found else ("copied" if same else "rewritten", "")


if __name__ == "__main__":
    main()
