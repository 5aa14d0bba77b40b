"""Does a test fail for every wrong change? Applies the mutants of tests/mutants.toml one by one.

    python scripts/mutants.py                  # all of them
    python scripts/mutants.py ppo- engine-     # those whose names begin so
    python scripts/mutants.py --list

A mutant is one change of one source file: `old` occurs there exactly once and becomes `new`, and
then `test`, which passes without the change, must fail. All happens in a scratch copy of what git
tracks, with the engine built anew where the change is in C++. Exit code 1 if a mutant survives, or
no longer applies, or its test fails without it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LIST = REPOSITORY / "tests" / "mutants.toml"

_FAILED, _PASSED = 1, 0  # pytest's exit codes


@dataclass(frozen=True)
class Mutant:
    """A wrong change: `file` with `new` in place of `old`, which `test` must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str

    @property
    def is_native(self) -> bool:
        """Whether the engine must be built for it."""
        return self.file.endswith((".cc", ".h"))

    def applied(self, source: str) -> str:
        """The changed source.

        Raises:
            ValueError: `old` does not occur exactly once.
        """
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: {self.file} has its old text {count} times, not once")
        return source.replace(self.old, self.new)


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The mutants of a list, in its order."""
    with path.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


class Scratch:
    """A copy of what git tracks in which mutants are tried; imported in place of the original."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            source, target = REPOSITORY / name, folder / name
            if source.exists():  # else it is deleted, and not yet committed
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        # An environment of its own, so that processes that tests start are of the copy too. Paths
        # alone, no installed package: an import hook of one would go before the copy.
        venv.create(folder / "venv", with_pip=False)
        self._python = str(folder / "venv" / "bin" / "python")
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        installed = [path for path in sys.path if path.endswith("site-packages")]
        (site / "copy.pth").write_text("\n".join([str(folder), *installed]), encoding="utf-8")

    def build(self) -> bool:
        """Builds the engine, what changed of it; quickly, without optimisation."""
        build = self.folder / "build"
        configure = ["cmake", "-S", ".", "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE="]
        configure += ["-DXFLOWRL_IN_PLACE=ON", f"-DPython_EXECUTABLE={sys.executable}"]
        make = ["cmake", "--build", str(build)]
        commands = [make] if (build / "build.ninja").exists() else [configure, make]
        return all(self._run(command).returncode == 0 for command in commands)

    def test(self, test: str) -> subprocess.CompletedProcess[str]:
        """Runs a test, or several that a space parts."""
        pytest = [self._python, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:cacheprovider"]
        return self._run([*pytest, *test.split(" ")])

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """The copy with a mutant's change in it."""
        path = self.folder / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.applied(source), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(source, encoding="utf-8")

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        # Sources change within a second, which is all that compiled ones are told apart by.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )


def outcome(mutant: Mutant, scratch: Scratch) -> tuple[bool, str]:
    """Tries one mutant: whether it was caught, and by what, or why not."""
    try:
        with scratch.changed(mutant):
            if mutant.is_native and not scratch.build():
                return False, "the engine does not build with it: no test has seen it"
            done = scratch.test(mutant.test)
    except ValueError as error:
        return False, str(error)
    if done.returncode == _PASSED:
        return False, f"survived {mutant.test}"
    caught_by = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if done.returncode != _FAILED or caught_by is None:
        return False, f"{mutant.test} did not run: {(done.stdout + done.stderr).strip()[-300:]}"
    return True, f"caught by {caught_by[1]}"


def try_all(mutants: Sequence[Mutant], scratch: Scratch) -> int:
    """Tries mutants one after another and prints what became of each; how many were caught."""
    num_caught, is_engine_changed = 0, False
    for mutant in mutants:
        if is_engine_changed and not mutant.is_native:
            scratch.build()  # without the last change
        is_engine_changed = mutant.is_native
        is_caught, words = outcome(mutant, scratch)
        num_caught += is_caught
        print(f"{'ok' if is_caught else 'NOT CAUGHT':10} {mutant.name}: {words}", flush=True)
    return num_caught


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the mutants named on the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all if none is given")
    parser.add_argument("--list", action="store_true", help="print the mutants, and try none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="tried side by side")
    options = parser.parse_args(arguments)
    mutants = [
        m for m in read_mutants() if not options.names or m.name.startswith(tuple(options.names))
    ]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.file}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [
            Scratch(Path(folder) / str(job)) for job in range(min(options.jobs, len(mutants)))
        ]
        if not all(copy.build() for copy in copies):
            print("the engine does not build")
            return 1
        done = copies[0].test(
            " ".join(sorted({test for m in mutants for test in m.test.split(" ")}))
        )
        if done.returncode != _PASSED:
            print(f"tests fail without any mutant:\n{done.stdout[-3000:]}")
            return 1
        # C++ takes the longest: its mutants are dealt out first, evenly.
        ordered = sorted(mutants, key=lambda mutant: not mutant.is_native)
        parts = [ordered[job :: len(copies)] for job in range(len(copies))]
        with ThreadPoolExecutor(len(copies)) as pool:
            num_caught = sum(pool.map(try_all, parts, copies))
    print(f"{num_caught} of {len(mutants)} mutants caught")
    return 0 if num_caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
