"""What the command line says of its options, and of those that do not exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from xflowrl.cli.help import help_text, read_comments, unknown_key, unknown_option
from xflowrl.cli.jobs import one_line
from xflowrl.cli.spelling import did_you_mean
from xflowrl.options import conf_folder

GROUPS = sorted(
    path.name for path in conf_folder().iterdir() if path.is_dir() and path.name[0] != "_"
)


def test_comments_stand_above_behind_and_below(tmp_path: Path) -> None:
    file = tmp_path / "option.yaml"
    file.write_text(
        "# @package _global_\n# What it\n# is.\n_target_: xflowrl.f\nwidth: 8 # of all\n"
        "# in front\n# of it\ndevice: cpu # cpu\nfamilies: null # these\n#   and those\n"
        "inner: # a part\n  _target_: xflowrl.g\n  head: 'a#b' # what\nlast: 1\n",
        encoding="utf-8",
    )
    title, comments = read_comments(file)
    assert title == "What it is."
    assert comments == {
        "width": "of all",
        "device": "in front of it cpu",
        "families": "these and those",
        "inner": "a part",
        "inner.head": "what",
        "last": "",
    }


def test_every_option_says_what_it_is() -> None:
    for group in GROUPS:
        for file in sorted((conf_folder() / group).glob("*.yaml")):
            assert read_comments(file)[0], f"{file} begins without a comment"


@pytest.mark.parametrize("choice", [[], ["agent=ppo"], ["graph=bert", "agent=ppo"]])
def test_help_explains_the_choice_in_60_lines(choice: list[str]) -> None:
    lines = help_text("the verb", choice).splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert lines[0] == "the verb"
    text = "\n".join(lines)
    for group in GROUPS:
        assert f"\n{group}=" in text
    assert "  budget.max_iterations=1000        states whose matches are listed" in lines
    shown = [line for line in lines if line.startswith("  agent.")]
    assert len(shown) == (8 if choice else 0)


def test_help_of_a_part_has_all_of_it() -> None:
    text = help_text("", ["agent=ppo", "agent.learning.clip=0.3", "agent", "judge"])
    assert "agent=beam" in text
    assert "agent.learning.clip=0.3" in text
    assert "agent.learning.schedule=linear    constant | linear | cosine" in text
    assert "judge.draws=3" in text
    assert "budget" not in text.partition("judge.draws")[2].partition("judge.max_s")[0]
    with pytest.raises(ValueError, match=r"--help judg: give one of .*; did you mean judge\?"):
        help_text("", ["judg"])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("agent.alfa", "there is no agent.alfa (--help agent shows what there is); "
         "did you mean agent.alpha?"),
        ("agent.alpha", "the chosen agent has no agent.alpha: choose agent=taso or "
         "agent=taso_native, which has, or leave it out"),
        ("agent.policy.hiden_size", "did you mean agent.policy.hidden_size?"),
        ("budget.max_iteration", "did you mean budget.max_iterations?"),
        ("judge.draw", "did you mean judge.draws?"),
        ("agnt", "there is no agnt (--help shows what there is); did you mean agent?"),
        ("zzz", "there is no zzz (--help shows what there is)"),
        ("hydra.launcher.zzz", "no hydra.launcher.zzz: +hydra.launcher.zzz=VALUE adds it where "
         "Hydra allows"),
    ],
)  # fmt: skip
def test_a_misspelt_key_is_answered_with_what_is_near(key: str, said: str) -> None:
    assert unknown_key(key).endswith(said)


def test_a_misspelt_key_of_several_in_braces_is_the_one_named() -> None:
    with (
        initialize_config_dir(str(conf_folder()), version_base="1.3"),
        pytest.raises(ConfigCompositionException) as caught,
    ):
        compose("config", ["wandb={mode:offline,projct:mine}"])
    said = one_line(caught.value)
    assert said.startswith("there is no wandb.projct (--help wandb shows what there is); did you ")


def test_a_misspelt_option_is_answered_with_what_is_near() -> None:
    known = ["greedy", "taso"]
    assert unknown_option("agent", "gredy", known) == (
        "agent=gredy does not exist: give one of greedy, taso; did you mean greedy?"
    )
    assert unknown_option("agent", "xyz", known).endswith("greedy, taso")
    missing = unknown_option("hydra/launcher", "submitit_slurm", ["basic"])
    assert missing.endswith("is not installed: pip install hydra-submitit-launcher")


def test_did_you_mean_is_silent_about_the_far() -> None:
    assert did_you_mean("onlin", ["offline", "online"]) == "; did you mean online?"
    assert did_you_mean("xyz", ["offline", "online"]) == ""


def test_an_unknown_preset_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xflowrl.run", "-m", "experiment=budgetsweep"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: experiment=budgetsweep does not exist: give one of ")
    assert done.stderr.endswith("did you mean budget_sweep?\n")
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_word_that_is_no_option_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xflowrl.run", "help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == "error: 'help' is no option: give KEY=VALUE; --help shows what there is\n"


def test_completion_knows_groups_and_options(tmp_path: Path) -> None:
    line = "xflowrl-run agent=ta"
    done = subprocess.run(
        [sys.executable, "-c", "from xflowrl.run import command; command()", "-sc", "query=bash"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={"COMP_LINE": line, "COMP_POINT": str(len(line)), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.split() == ["agent=taso", "agent=taso_native"]
