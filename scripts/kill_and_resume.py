"""Kills runs at random moments, resumes them, and compares with runs that nobody disturbed.

    python scripts/kill_and_resume.py [--kills 100] [--kinds search ppo sweep judge] [--seed 0]

Each kind of run is made once undisturbed. Then, again and again: it is begun in a new folder, the
process gets SIGKILL after a time drawn from as long as the undisturbed run took, every third time
`resume=FOLDER` gets it too, and the last resume comes to its end. The costs are a price list's and
the budgets count iterations, so that everything but times must come out the same: result.json,
trace.json, a policy's weights, delivered models; and no step is logged twice. A process that was
killed before Hydra had written the options is begun again.

Prints a line for every kill that made a difference and a table at the end; exit code 1 if one did.
Searches keep their progress every tenth of a second here, or they would be too short to have any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xflowrl.rerun import differing
from xflowrl.run_folder import read_metrics, read_result

COMMAND = """
from xflowrl import progress, run
from xflowrl.cli import jobs, resume
progress._EVERY_S = 0.1
jobs.main(run.optimize, resume.resumed)
"""

QUICK = ("measurement=roofline", "wandb.mode=disabled", "judge.draws=1", "judge.max_s=0.5")

KINDS = {
    "search": "graph=onnx_light graph.name=resnet50 agent=taso budget.max_iterations=40000 "
    "judge.measure=false",
    "ppo": "graph=squeezenet agent=ppo agent.train_iterations=12 agent.train_patience=6 "
    "agent.learning.num_envs=2 agent.learning.num_steps=32 judge.measure=false",
    "sweep": "-m graph=tiny,squeezenet agent=taso,greedy,beam budget.max_iterations=200 "
    "judge.measure=false",
    "judge": "graph=networks graph.names=[squeezenet,nasrnn] agent=greedy",
}


def begin(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Starts the command line in a process group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def begun(kind: str, folder: Path) -> tuple[str, ...]:
    """The arguments that begin a kind of run in a folder, or go on with what is there."""
    made = folder / "run"
    if (made / "multirun.yaml").exists() or (made / ".hydra" / "hydra.yaml").exists():
        return (f"resume={made}",)
    place = "hydra.sweep.dir" if kind == "sweep" else "hydra.run.dir"
    return (*KINDS[kind].split(), *QUICK, f"{place}={made}")


def finish(kind: str, folder: Path) -> None:
    """Runs to the end.

    Raises:
        RuntimeError: the exit code is not 0.
    """
    process = begin(folder, *begun(kind, folder))
    if process.wait():
        raise RuntimeError((folder / "output.txt").read_text()[-2000:])


def kill(kind: str, folder: Path, after_s: float) -> bool:
    """Begins or resumes, and kills; whether there was a process left to be killed."""
    process = begin(folder, *begun(kind, folder))
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def weights(file: Path) -> str:
    """A digest of a policy's weights, bit for bit."""
    import torch

    record = torch.load(file, weights_only=True)["weights"]
    digest = hashlib.sha256()
    for name in sorted(record):
        digest.update(name.encode() + record[name].numpy().tobytes())
    return digest.hexdigest()


def problems(whole: Path, resumed: Path) -> Iterator[str]:
    """What differs between an undisturbed run or sweep and one that was killed and resumed."""
    runs, others = (
        sorted(file.parent.relative_to(folder) for file in folder.rglob("result.json"))
        for folder in (whole, resumed)
    )
    if runs != others:
        yield "other runs"
        return
    for run in runs:
        before, after = whole / run, resumed / run
        yield from differing(before, after)
        for was, now in zip(read_result(before).results, read_result(after).results, strict=True):
            for name in ("verified", "kept_original", "best_onnx", "num_steps_delivered"):
                if getattr(was, name) != getattr(now, name):
                    yield f"{run}: {was.graph}: {name} {getattr(now, name)}"
            if was.best_onnx and _digest(before / was.best_onnx) != _digest(after / was.best_onnx):
                yield f"{run}: {was.graph}: another {was.best_onnx}"
        if not read_result(after).finished:
            yield f"{run}: not finished"
        if _places(before) != _places(after):
            yield f"{run}: other rows in metrics.jsonl"
        for policy in (p.name for p in (before / "checkpoints").glob("*.pt")):
            if weights(before / "checkpoints" / policy) != weights(after / "checkpoints" / policy):
                yield f"{run}: other weights in {policy}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _places(run: Path) -> list[tuple[str, float | None]]:
    """What each row is about; that none comes twice follows from the undisturbed run's."""
    return [(sorted(row)[-1], row["step"]) for row in read_metrics(run)]


def trial(kind: str, whole: Path, folder: Path, took_s: float, draw: random.Random) -> Any:
    """One run that is killed and resumed: the kills, and what came out differently."""
    folder.mkdir()
    moments, num_kills = [], 0
    for _ in range(draw.choice((1, 1, 2))):
        moments.append(draw.uniform(0.3, took_s))
        num_kills += kill(kind, folder, moments[-1])
    try:
        finish(kind, folder)
        different = [*problems(whole / "run", folder / "run")]
    except (RuntimeError, ValueError, OSError) as error:
        different = [f"{type(error).__name__}: {error}"]
    return num_kills, [f"{[round(m, 2) for m in moments]}: {line}" for line in different]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="altogether")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, kind in enumerate(options.kinds):
            left = options.kills - sum(row["kills"] for row in rows)
            wanted = -(-left // (len(options.kinds) - index))
            whole = Path(scratch) / f"{kind}-whole"
            whole.mkdir()
            began_s = time.monotonic()
            finish(kind, whole)
            took_s = time.monotonic() - began_s
            row = {"kind": kind, "seconds": round(took_s, 1), "kills": 0, "runs": 0, "different": 0}
            while row["kills"] < wanted:
                folder = Path(scratch) / f"{kind}-{row['runs']}"
                num_kills, different = trial(kind, whole, folder, took_s, draw)
                row["kills"] += num_kills
                row["runs"] += 1
                row["different"] += bool(different)
                for line in different:
                    print(f"{kind} {line}", flush=True)
            rows.append(row)
            print(json.dumps(row), flush=True)
    return 1 if any(row["different"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
