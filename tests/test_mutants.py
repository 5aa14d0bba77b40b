"""Tests that can fail: for every wrong change listed in mutants.toml one of them does."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutants import Mutant, read_mutants

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "scripts" / "mutants.py"

MUTANTS = read_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_still_applies(mutant: Mutant) -> None:
    source = (REPOSITORY / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(source) != source
    for test in mutant.test.split(" "):
        assert (REPOSITORY / test.split("::")[0]).exists(), test


def test_names_are_distinct() -> None:
    names = Counter(mutant.name for mutant in MUTANTS)
    assert not [name for name, count in names.items() if count > 1]


def test_a_mutant_that_no_longer_applies_is_an_error() -> None:
    mutant = Mutant("m", "f", old="a + b", new="a - b", test="t")
    assert mutant.applied("x = a + b") == "x = a - b"
    for source in ("x = a * b", "x = a + b, a + b"):
        with pytest.raises(ValueError, match="m: f has its old text"):
            mutant.applied(source)


@pytest.mark.slow
def test_every_mutant_is_caught() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
