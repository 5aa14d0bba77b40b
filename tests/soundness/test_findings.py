"""What is kept of the checker's findings, and what loading a rule file makes of them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from xflowrl.rules import load_file
from xflowrl.rules.__main__ import main
from xflowrl.soundness.findings import Finding, Findings, default_path

SOUND = "(rule relu-twice (Relu (Relu ?x)) => (Relu ?x))"
WRONG = "(rule relu-lost (Relu (Neg ?x)) => (Neg ?x))"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return default_path()


def rule_file(folder: Path, *rules: str) -> str:
    path = folder / "mine.rules"
    path.write_text("\n".join(["(rules mine)", *rules]), encoding="utf-8")
    return str(path)


def test_verdict_is_found_by_the_rule_whatever_its_layout(cache: Path) -> None:
    finding = Finding("relu-twice", "unsound", 3, "because")
    Findings().put(SOUND, finding, is_commutative=True)
    other_layout = SOUND.replace(" => ", "\n  ; a comment\n  =>\n ")
    assert Findings().get(other_layout, is_commutative=True) == finding
    assert Findings().get(other_layout, is_commutative=False) is None
    assert Findings().get(SOUND.replace("Relu ?x", "Abs ?x"), is_commutative=True) is None
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_broken_file_of_verdicts_is_refused(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("[1, 2", encoding="utf-8")
    with pytest.raises(ValueError, match="move it away"):
        Findings().get(SOUND, is_commutative=True)


def test_unchecked_rules_load_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = rule_file(tmp_path, SOUND, WRONG)
    with caplog.at_level(logging.WARNING):
        assert load_file(path).names == ["relu-twice", "relu-lost"]
    assert len(caplog.records) == 1
    assert "relu-twice, relu-lost; run" in caplog.text


def test_of_many_unchecked_rules_the_warning_names_a_few(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [SOUND.replace("relu-twice", f"relu-{i}") for i in range(7)]
    with caplog.at_level(logging.WARNING):
        load_file(rule_file(tmp_path, *rules))
    assert "relu-3, relu-4 and 2 more; run" in caplog.text


def test_checked_rules_load_without_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rule_file(tmp_path, SOUND)
    assert main(["check", path, "--instances", "5"]) == 0
    assert "sound     relu-twice" in capsys.readouterr().out
    assert len(load_file(path)) == 1
    assert not caplog.records


def test_rule_known_to_be_unsound_is_not_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rule_file(tmp_path, SOUND, WRONG)
    assert main(["check", path, "--instances", "5"]) == 1
    out = capsys.readouterr().out
    assert "unsound   relu-lost" in out
    assert "1 sound, 1 unsound, 0 unchecked" in out
    with pytest.raises(ValueError, match=r'rule "relu-lost" \(.*mine.rules:3\) is unsound'):
        load_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "not UTF-8"),
        (b"(rules mine)\n(rule a (Relu ?x) => ?y)", "mine.rules:2:"),
    ],
)
def test_bad_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "mine.rules"
    if content is not None:
        path.write_bytes(content)
    assert main(["check", str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
