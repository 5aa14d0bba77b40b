"""Random rewrites of many model files; counts what was wrong, refused or crashed.

The files are drawn by seed, or those of a folder, by whatever generator they were written. A table
gets a row of counts; rows of other generators and seeds stay.

    python scripts/optimize_random_files.py [--first 0] [--seeds 2000]
    python scripts/optimize_random_files.py --folder FOLDER --generator NAME
    ... [--table results/random_files.csv]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "files"))
from delivering import deliver
from judge import complaints, drawn_feeds, open_session
from random_models import random_model

OUTCOMES = ("rewritten", "copied", "wrong", "refused", "crashed", "not_run")
FIELDS = ("generator", "seeds", *OUTCOMES)


def main() -> None:
    """Prints a line for each file that is not right, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--folder", type=Path, help="of .onnx files, instead of seeds")
    parser.add_argument("--generator", default="random_models.py", help="who wrote the files")
    parser.add_argument("--table", type=Path, help="a .csv file to add the counts to")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.folder is not None:
            files = sorted(arguments.folder.rglob("*.onnx"))
            seeds = f"{len(files)} files"
            numbered = enumerate(files)
        else:
            seeds = f"{arguments.first} to {arguments.first + arguments.seeds - 1}"
            numbered = drawn_files(arguments.first, arguments.seeds, Path(scratch) / "model.onnx")
        for seed, path in numbered:
            outcome, detail = outcome_of(path, Path(scratch) / "result.onnx", seed)
            counts[outcome] += 1
            if outcome in {"wrong", "refused", "crashed"}:
                name = path.name if arguments.folder is not None else f"seed {seed}"
                print(f"{name}: {outcome}: {detail[:200]}", flush=True)
    print(", ".join(f"{outcome}: {counts[outcome]}" for outcome in OUTCOMES))
    if arguments.table is not None:
        row = {"generator": arguments.generator, "seeds": seeds}
        add_row(arguments.table, row | {outcome: str(counts[outcome]) for outcome in OUTCOMES})


def drawn_files(first: int, count: int, path: Path) -> Iterator[tuple[int, Path]]:
    """Each seed and its file, which is written over the one before."""
    for seed in range(first, first + count):
        onnx.save(random_model(seed), path)
        yield seed, path


def outcome_of(path: Path, out: Path, seed: int) -> tuple[str, str]:
    """What became of a file, and why; `not_run` if ONNX Runtime does not run it either."""
    out.unlink(missing_ok=True)
    try:
        deliver(path, out, agent="random_search", seed=seed, max_iterations=20)
    except ValueError as error:
        return ("refused" if is_run(path) else "not_run"), str(error)
    except Exception as error:  # whatever it is, it is what we look for
        return "crashed", f"{type(error).__name__}: {error}"
    if not is_run(path):
        return "not_run", ""
    found = complaints(path, out)
    same = path.read_bytes() == out.read_bytes()
    return ("wrong", "; ".join(found)) if found else ("copied" if same else "rewritten", "")


def is_run(path: Path) -> bool:
    """Whether ONNX Runtime runs a file, its optimisations off."""
    try:
        return any(True for _ in drawn_feeds(path, open_session(path), num_sizes=1))
    except Exception:
        return False


def add_row(table: Path, row: dict[str, str]) -> None:
    """Adds a row to a table, or replaces the one of the same generator and seeds."""
    rows = []
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    key = (row["generator"], row["seeds"])
    kept = [other for other in rows if (other["generator"], other["seeds"]) != key]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, row])


if __name__ == "__main__":
    main()
