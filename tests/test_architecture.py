"""The plan of the house, as tables: who may import whom, and what stays behind which fence."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "xflowrl"

# Each part of the package, and the parts it imports. One way: nothing below imports upwards.
# A part is a module or a package; one named apart from its package has a line of its own.
MAY_IMPORT = {
    "_engine": set[str](),
    "metrics": set(),
    "provenance": set(),
    "schema_1": set(),
    "shortage": set(),
    "cli.interrupts": set(),
    "cli.naming": {"shortage"},
    "cli.spelling": set(),
    "cli.system_errors": set(),
    "operators": set(),
    "weights": {"_engine", "operators"},
    "onnx_io": {"_engine", "operators", "weights", "shortage"},
    "graphs": {"_engine", "weights", "onnx_io"},
    "taso": {"_engine"},
    "soundness": {"_engine", "operators", "onnx_io", "shortage"},
    "rules": {"_engine", "soundness"},
    "measurement.device": set(),
    "measurement.runtimes": {"onnx_io", "measurement.device", "shortage"},
    "proof": {"measurement.runtimes", "onnx_io"},
    "verify": {"_engine", "weights", "onnx_io", "proof"},
    "measurement": {
        "_engine",
        "operators",
        "onnx_io",
        "measurement.device",
        "measurement.runtimes",
    },
    "budget": {"measurement"},
    "problem": {"_engine", "onnx_io", "measurement", "budget"},
    "progress": {"shortage", "problem"},
    "taso.prices": {"_engine", "measurement"},
    "env": {"_engine", "onnx_io", "measurement", "problem"},
    "agents": {"_engine", "problem", "env", "shortage"},
    "agents.ppo.rank_process": {"measurement", "agents"},
    "taso.native": {"_engine", "onnx_io", "problem", "agents"},
    "costs": {"measurement"},
    "delivery": {"onnx_io", "shortage"},
    "replaying": {"_engine", "problem"},
    "proving": {"onnx_io", "verify", "problem", "replaying"},
    "candidates": {"onnx_io", "problem", "agents", "replaying"},
    "judge": {
        "onnx_io",
        "measurement.runtimes",
        "proof",
        "measurement",
        "problem",
        "candidates",
        "delivery",
        "proving",
    },
    "summary": {"operators", "problem"},
    "run_folder": {
        "provenance",
        "schema_1",
        "shortage",
        "verify",
        "measurement",
        "problem",
        "judge",
    },
    "outcome": {"run_folder"},
    "tracking": {"outcome", "shortage", "problem", "run_folder"},
    "console": {"measurement", "outcome", "problem", "run_folder", "api"},
    "command": {"cli.interrupts", "cli.system_errors", "shortage", "options", "api", "console"},
    "__main__": {"command"},
    "options": {"_engine", "onnx_io", "taso", "measurement", "problem", "cli.spelling"},
    "rules.__main__": {"_engine", "taso", "soundness", "rules", "options"},
    "cli": {
        "_engine",
        "cli.interrupts",
        "cli.naming",
        "cli.spelling",
        "cli.system_errors",
        "shortage",
        "onnx_io",
        "measurement",
        "problem",
        "run_folder",
        "console",
        "options",
    },
    "run": {
        "provenance",
        "shortage",
        "measurement",
        "problem",
        "progress",
        "judge",
        "run_folder",
        "tracking",
        "console",
        "options",
        "cli",
        "cli.naming",
    },
    "rerun": {"run_folder", "cli", "run"},
    "taso.complexity": {"_engine", "taso", "run_folder", "cli"},
    "calibrate": {
        "_engine",
        "onnx_io",
        "measurement",
        "measurement.runtimes",
        "problem",
        "cli",
    },
    "report": {
        "_engine",
        "cli.naming",
        "measurement",
        "problem",
        "run_folder",
        "options",
        "calibrate",
        "replaying",
        "shortage",
    },
    "api": {
        "_engine",
        "onnx_io",
        "verify",
        "proof",
        "measurement",
        "problem",
        "delivery",
        "judge",
        "summary",
        "options",
    },
    "__init__": {"onnx_io", "problem", "api"},
}

# Who may import a package that is heavy, or that the rest must not depend on.
FENCES = {
    "torch": {"agents.mcts", "agents.ppo", "measurement.runtimes"},
    "torch_geometric": {"agents.ppo.policy"},
    "pytorch_lightning": {"agents.ppo.ranks", "agents.ppo.trainer", "agents.ppo.training"},
    "gymnasium": {"env"},
    "highspy": {"agents.egraph.extraction"},
    "onnxruntime": {"measurement.runtimes", "onnx_io.folding"},
    "onnx": {"measurement.runtimes", "onnx_io", "proof", "soundness.reference"},
    "wandb": {"tracking"},
    "hydra": {"cli", "options"},
    "omegaconf": {"cli", "options"},
    "pydantic": {"options", "run_folder"},
    "rich": {"console"},
    "click": {"command", "costs"},
    "google": {"onnx_io", "taso.rule_file"},
    "plotly": {"report.html"},
    "igraph": {"report.graph_view"},
    "jinja2": {"report.html"},
    "matplotlib": {"report.paper", "calibrate.report"},
}


def modules() -> list[str]:
    """The dotted names of the package's modules, without `xflowrl.`."""
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths]
    return [name for name in names if not name.startswith("conf.")]


def imports(source: str, package: str) -> Iterator[str]:
    """Everything that a module's text imports, as absolute dotted names.

    Args:
        package: the package it lies in, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def imports_of(module: str) -> list[str]:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    package = ".".join(path.relative_to(REPOSITORY).parent.parts)
    return list(imports(path.read_text(encoding="utf-8"), package))


def part_of(module: str) -> str:
    """The part that a dotted name belongs to: the longest of those that begin it."""
    names = module.split(".")
    prefixes = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((prefix for prefix in prefixes if prefix in MAY_IMPORT), names[0])


def may_pass(module: str, allowed: set[str]) -> bool:
    name = module.removesuffix(".__init__")
    return any(name == fence or name.startswith(f"{fence}.") for fence in allowed)


def test_imports_are_read_from_source() -> None:
    source = (
        "import torch.nn as nn\ndef f():\n    from .problem import Budget\nfrom .. import run\n"
    )
    assert list(imports(source, "xflowrl.agents")) == [
        "torch.nn",
        "xflowrl.run",
        "xflowrl.agents.problem.Budget",
    ]


def test_a_fence_keeps_out_all_but_the_named() -> None:
    assert may_pass("agents.ppo.agent", {"agents.ppo"})
    assert may_pass("onnx_io.__init__", {"onnx_io"})
    assert not may_pass("agents.greedy", {"agents.ppo"})
    assert not may_pass("run_more", {"run"})


@pytest.mark.parametrize("module", modules())
def test_imports_go_one_way(module: str) -> None:
    part = part_of(module)
    assert part in MAY_IMPORT, f"give {part} its place in MAY_IMPORT"
    for name in imports_of(module):
        if name.startswith("xflowrl."):
            other = part_of(name.removeprefix("xflowrl."))
            assert other in MAY_IMPORT[part] | {part}, f"{module} imports {name}"


def test_no_permission_is_idle() -> None:
    used: dict[str, set[str]] = {part: set() for part in MAY_IMPORT}
    for module in modules():
        names = [name for name in imports_of(module) if name.startswith("xflowrl.")]
        part = part_of(module)
        used[part] |= {part_of(name.removeprefix("xflowrl.")) for name in names} - {part}
    assert used == MAY_IMPORT


def test_no_fence_is_idle() -> None:
    for package, allowed in FENCES.items():
        users = [m for m in modules() if package in {i.split(".")[0] for i in imports_of(m)}]
        for room in allowed:
            assert any(may_pass(user, {room}) for user in users), f"{room} imports no {package}"


def test_import_table_has_no_cycle() -> None:
    placed: set[str] = set()
    while len(placed) < len(MAY_IMPORT):
        free = {part for part, others in MAY_IMPORT.items() if others <= placed} - placed
        assert free, f"cycle among {sorted(MAY_IMPORT.keys() - placed)}"
        placed |= free


@pytest.mark.parametrize("module", modules())
def test_fences_hold(module: str) -> None:
    for name in imports_of(module):
        allowed = FENCES.get(name.split(".", maxsplit=1)[0])
        assert allowed is None or may_pass(module, allowed), f"{module} imports {name}"


def test_no_file_is_above_400_lines() -> None:
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.glob("csrc/**/*"), *REPOSITORY.glob("scripts/*")]
    long = {
        str(path.relative_to(REPOSITORY)): lines
        for path in sources
        if path.is_file() and (lines := path.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not long


@pytest.mark.parametrize("module", ["xflowrl", "xflowrl.run", "xflowrl.problem", "xflowrl.command"])
def test_importing_stays_light(module: str) -> None:
    heavy = "{'torch', 'pytorch_lightning', 'wandb', 'onnx', 'onnxruntime'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ci_runs_what_the_readme_says() -> None:
    install = "pip install -c constraints.txt -e '.[dev]'"
    assert install in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "scripts/check.sh\n" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "scripts/check.sh\n" in ci
    assert install.replace("install", "install -q") in ci
