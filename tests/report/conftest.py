"""Run folders to report on: one real run, and copies of it with other contents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_runs import MakeRun

from xflowrl.cli.naming import write_name


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`graph=tiny agent=taso`, as the command line writes it."""
    folder = tmp_path_factory.mktemp("real") / "0"
    command = [
        *(sys.executable, "-m", "xflowrl.run", "graph=tiny", "agent=taso", "seed=3"),
        *("measurement=roofline", "judge.measure=false", "wandb.mode=disabled"),
        f"hydra.run.dir={folder}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def make_run(real_run: Path) -> MakeRun:
    """Makes a copy of the real run: `make_run(folder, {"agent.alpha": 1.2}, seed=1, agent="beam")`.

    Options are replaced in the configuration, or taken out (`...`), all else in the one entry of
    `result.json`; `train_s`, `finished`, `metrics` and `name` are those of the run, which has no
    name without.
    """

    def make(folder: Path, options: dict[str, Any] | None = None, /, **changes: Any) -> Path:
        import yaml

        shutil.copytree(real_run, folder, ignore=shutil.ignore_patterns("*.onnx"))
        (folder / ".hydra" / "name.txt").unlink()
        if "name" in changes:
            write_name(folder, changes.pop("name"))
        config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
        config["seed"] = changes.get("seed", 3)
        for name, value in (options or {}).items():
            group, _, key = name.partition(".")
            config[group][key] = value
            if value is ...:
                del config[group][key]
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
        record = json.loads((folder / "result.json").read_text())
        record["train_s"] = changes.pop("train_s", 0.0)
        record["finished"] = changes.pop("finished", True)
        metrics = changes.pop("metrics", None)
        if metrics is not None:
            text = "".join(json.dumps(row) + "\n" for row in metrics)
            (folder / "metrics.jsonl").write_text(text)
        record["results"][0] |= changes
        (folder / "result.json").write_text(json.dumps(record))
        trace = json.loads((folder / "trace.json").read_text())
        trace["traces"][0]["graph"] = record["results"][0]["graph"]
        (folder / "trace.json").write_text(json.dumps(trace))
        return folder

    return make
