"""What README and the pages of `docs/` show is run, block by block, with small budgets.

A page is one session in one folder: its blocks run in their order, those in Python in one
namespace, those in sh with bash. A block with a title is a file of that name. A block of `text` is
what the block before it prints.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import xflowrl

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# results.md says how its tables were made, which takes hours.
PAGES = sorted({*REPOSITORY.glob("docs/*.md")} - {REPOSITORY / "docs" / "results.md"})

_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.M | re.S
)

# Budgets are shrunk by overrides that come last; what installs or checks all of this does nothing;
# what needs a GPU is asked of the CPU.
SHELL = """
set -euo pipefail
pip() { :; }
python3.11() { :; }
xflowrl() {
  local on_cpu=(--set judge.runtime=onnxruntime --set judge.device=cpu --set judge.precision=fp32)
  python -m xflowrl "$@" --seconds 1 "${on_cpu[@]}"
}
python() {
  local shrunk=()
  case "$*" in
    *--help* | *--cfg* | *resume=*) ;;
    "-m xflowrl.run"*)
      shrunk=(budget.max_iterations=3 judge.max_s=0.2 wandb.mode=disabled) ;;&
    "-m xflowrl.run"*agent=ppo*) shrunk+=(agent.train_iterations=1 agent.num_samples=0) ;;
    "-m xflowrl.run"*experiment=*) shrunk+=(graph=tiny agent=greedy,taso seed=0) ;;
    "-m xflowrl.taso.complexity "*experiment=*) shrunk=(graph.names=[tiny]) ;;
    "-m xflowrl.calibrate "*) shrunk=(calibrate.num_graphs=2 calibrate.max_s=0.1) ;;
  esac
  command python "$@" "${shrunk[@]}"
}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str
    line: int


def blocks_of(markdown: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(
            *found.group("language", "title", "text"),
            line=2 + markdown.count("\n", 0, found.start()),
        )
        for found in _BLOCK.finditer(markdown)
    ]


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    """What the block prints; errors name the page's line."""
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    return printed.getvalue()


def run_shell(block: Block, folder: Path) -> str:
    """What the block prints."""
    line = ["bash", "-c", SHELL + block.text]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_page(page: Path, folder: Path) -> None:
    """Runs the blocks of a page in a folder."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    printed = ""
    for block in blocks_of(page.read_text("utf-8")):
        if block.title is not None:
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed = run_python(block, page, namespace)
        elif block.language == "sh":
            printed = run_shell(block, folder)
        elif block.language == "text":
            assert printed.strip() == block.text.strip(), f"{page}:{block.line}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader is: with a model, an environment, and nothing kept from before."""
    from xflowrl.graphs.squeezenet import squeezenet

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    xflowrl.save_onnx(squeezenet(image_size=32), tmp_path / "model.onnx")
    for name in (".venv/bin/activate", "scripts/check.sh"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *PAGES], ids=lambda page: page.name)
def test_what_a_page_shows_works(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    if "graph_subst.pb" in page.read_text("utf-8"):  # a reader's own copy
        taso = request.getfixturevalue("shared_dir") / "taso"
        shutil.copy(taso / "graph_subst.pb", folder)
    if "FOLDER" in page.read_text("utf-8"):  # a run of theirs
        run = "graph=tiny measurement=roofline hydra.run.dir=FOLDER"
        run_shell(Block("sh", None, f"python -m xflowrl.run {run}\n", 1), folder)
    run_page(page, folder)


@pytest.mark.parametrize(
    "page",
    [
        "```python\nraise KeyError\n```\n",
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```sh\nfalse\n```\n",
        '```text title="a"\n1\n```\n```sh\ncat a\n```\n```text\n2\n```\n',
    ],
)
def test_what_does_not_work_is_noticed(page: str, folder: Path) -> None:
    (folder / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises((AssertionError, KeyError)):
        run_page(folder / "page.md", folder)


def test_budgets_are_shrunk(folder: Path) -> None:
    line = "python -m xflowrl.run graph=tiny measurement=roofline budget.max_iterations=100\n"
    run_shell(Block("sh", None, line, 1), folder)
    (config,) = folder.glob("multirun/*/*/0/.hydra/config.yaml")
    assert "max_iterations: 3\n" in config.read_text("utf-8")
