"""Metrics to `metrics.jsonl` and to Weights & Biases; the only import of wandb."""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

from xflowrl.outcome import Outcome
from xflowrl.run_folder import read_metrics, write_json
from xflowrl.shortage import space_for
from xflowrl.tracking.curves import AXES, Curves

if TYPE_CHECKING:
    from xflowrl.problem import Problem, Result
    from xflowrl.run_folder import RunRecord

logger = logging.getLogger(__name__)

# Seconds to wait for W&B's server before going on offline.
_PATIENCE_S = 20.0

# What a row of `metrics.jsonl` has beside metrics.
_COUNTS = ("step", "iteration", "seconds")


@dataclass(frozen=True, kw_only=True)
class WandbSettings:
    """How a run appears in Weights & Biases.

    Attributes:
        mode: "offline" writes files (`wandb sync` uploads them later), "online" needs a login and
            goes on offline without, "disabled" leaves wandb out; `metrics.jsonl` is written in
            every mode.
        group: null: the sweep.
        name: null: made of agent, graph, budget, seed and what else differs in the sweep.
        tags: beside the options chosen for graph, rules and measurement.
    """

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "xflowrl"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a run is known by.

    Attributes:
        folder: of the run.
        wandb_folder: where `wandb/` is: the sweep's folder, so that its runs are read together.
        group: of the runs of a sweep.
        kind: the agent; W&B's job type.
        config: choices and options, the same on every machine.
    """

    folder: Path
    wandb_folder: Path
    name: str
    group: str
    kind: str
    tags: Sequence[str]
    config: Mapping[str, Any]


class Tracker:
    """Writes what a run logs. A context manager: leaving it closes files and the W&B run.

    The W&B run has failed if it is left by an exception, or after `failed`.
    """

    def __init__(self, label: Label, settings: WandbSettings, *, is_resumed: bool = False) -> None:
        self._label = label
        self._path = label.folder / "metrics.jsonl"
        self._file: TextIO | None = None
        self._is_resumed = is_resumed
        self._seen: set[tuple[str, int]] = set()
        self._curves = Curves(())
        self._exit_code = 0
        self._run: Any = None
        if settings.mode != "disabled":
            try:
                self._run = _start_wandb(label, settings)
            except RuntimeError as error:
                if "home directory" not in str(error):  # as pathlib says it
                    raise
                raise ValueError(
                    "W&B needs a home folder: set HOME, or wandb.mode=disabled"
                ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._run is not None:
            self._run.finish(exit_code=self._exit_code or int(kind is not None))

    def begin(self, problems: Sequence[Problem]) -> None:
        """Notes what is optimised, before anything is logged; `metrics.jsonl` begins or goes on."""
        self._curves = Curves([problem.name for problem in problems])
        pieces = self._earlier_pieces() if self._is_resumed else []
        for row in _rows_before(self._path) if self._is_resumed else ():
            self._seen.add(_place(row, int(row["step"] or 0)))
            metrics = {n: math.nan if v is None else v for n, v in row.items() if n not in _COUNTS}
            compared = self._curves.row(metrics)
            if pieces:
                self._run.log(compared)
        for piece in pieces:
            shutil.rmtree(piece)
        with space_for(self._path):
            mode: Literal["a", "w"] = "a" if self._is_resumed else "w"
            self._file = self._path.open(mode, encoding="utf-8", buffering=1)
        if self._run is not None and problems:
            rules = problems[0].rules
            graphs = {p.name: {"num_nodes": len(p.model.graph)} for p in problems}
            ruled = {"name": rules.name, "num_rules": len(rules.names)}
            self._run.config.update({"graphs": graphs, "rule_set": ruled}, allow_val_change=True)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Writes a row: metrics by name, at an iteration of the agent's own.

        In a resumed run a row that was written before is left out.
        """
        if _place(metrics, step) in self._seen:
            return
        assert self._file is not None, "log before begin"
        compared = self._curves.row(metrics)
        axes = {name: compared[name] for name in ("iteration", "seconds")}
        row = {"step": step, **axes} | {
            name: value if math.isfinite(value) else None for name, value in metrics.items()
        }
        with space_for(self._path):
            self._file.write(json.dumps(row) + "\n")
        if self._run is not None:
            self._run.log(compared)

    def finish(self, results: Sequence[Result], record: RunRecord) -> None:
        """Hands over what only the end knows: summary, applied rules, models, policies.

        Args:
            record: the content of `result.json`.
        """
        if self._run is None:
            return
        known: dict[str, Any] = asdict(Outcome.of(record))
        for entry in record.results:
            known |= {f"graph/{entry.graph}/{name}": value for name, value in asdict(entry).items()}
        scalars = (str, int, float, bool)
        self._run.summary.update({k: v for k, v in known.items() if isinstance(v, scalars)})
        self._keep_rules(results)
        self._keep("model", [entry.best_onnx for entry in record.results if entry.best_onnx])
        self._keep("policy", ["checkpoints/best.pt", "checkpoints/last.pt"])
        self._keep("checkpoint", ["checkpoints/resume.ckpt"])

    def failed(self, exit_code: int) -> None:
        """Notes that the run ends with this exit code."""
        self._exit_code = exit_code

    def _earlier_pieces(self) -> list[Path]:
        """Of an offline run the folders that W&B made before it was resumed.

        Each would be a run of its own to `wandb leet`, so the rows of all go into the new one.
        """
        if self._run is None or not self._run.offline:
            return []
        now = Path(self._run.settings.sync_dir)
        return [p for p in now.parent.glob(f"offline-run-*-{self._run.id}") if p.name != now.name]

    def _keep_rules(self, results: Sequence[Result]) -> None:
        """Makes an artifact of the applied rules, a table; logged, a table would import pandas."""
        import wandb

        table = wandb.Table(columns=["graph", "index", "rule", "tensors", "cost_ms"])
        for result in results:
            for index, step in enumerate(result.trace.steps):
                table.add_data(result.graph, index, step.rule, " ".join(step.tensors), step.cost_ms)
        artifact = wandb.Artifact(f"{self._run.id}-rules", type="rules")
        artifact.add(table, "applied_rules")
        self._run.log_artifact(artifact)

    def _keep(self, kind: str, names: Sequence[str]) -> None:
        """Makes an artifact of those files of the run folder that exist.

        W&B uploads them from where they are, as seen from the working directory: without a copy,
        and without a path of this machine.
        """
        import wandb

        files = [self._label.folder / name for name in names]
        artifact = wandb.Artifact(f"{self._run.id}-{kind}", type=kind)
        for file in filter(Path.is_file, files):
            artifact.add_file(os.path.relpath(file), name=file.name, policy="immutable")
        if artifact.manifest.entries:
            self._run.log_artifact(artifact)


def _rows_before(path: Path) -> list[dict[str, float | None]]:
    """The rows that are there; one that a kill cut off is taken away."""
    if not path.exists():
        return []
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return list(read_metrics(path.parent))


def _place(metrics: Mapping[str, float | None], step: int) -> tuple[str, int]:
    """What a row is about: a training or a search, and the iteration."""
    return next((n for n in metrics if "/" in n), "").rpartition("/")[0], step


def _start_wandb(label: Label, settings: WandbSettings) -> Any:
    # W&B stages artifacts outside the run otherwise, and a run folder would not be complete.
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ[variable] = str(label.wandb_folder / "wandb")
    import wandb

    options: dict[str, Any] = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group or label.group,
        "name": settings.name or label.name,
        "job_type": label.kind,
        "tags": list(dict.fromkeys([*settings.tags, *label.tags])),
        "dir": str(label.wandb_folder),
        "id": _run_id(label),
        "config": dict(label.config),
        "reinit": "finish_previous",
    }
    # Versions and commit are in the configuration, where runs can be compared by them.
    quiet: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "x_save_requirements": False,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "disable_git": True,
        "x_transaction_log_flush_interval": 1.0,  # seconds that a kill may lose
    }
    run: Any = None
    if settings.mode == "online":
        try:
            if not wandb.login(prompt=False):
                raise wandb.errors.UsageError("no API key, `wandb login` asks for it")
            waiting = wandb.Settings(init_timeout=_PATIENCE_S, **quiet)
            run = wandb.init(mode="online", resume="allow", settings=waiting, **options)
        except wandb.errors.Error as error:
            where = os.path.relpath(label.wandb_folder / "wandb")
            reason = str(error).split("\n")[0].rstrip(".")
            logger.warning("W&B: %s; going on offline, `wandb sync %s` uploads it", reason, where)
    if run is None:
        run = wandb.init(mode="offline", settings=wandb.Settings(**quiet), **options)
    for axis in dict.fromkeys(AXES.values()):
        run.define_metric(axis)
    for pattern, axis in AXES.items():
        run.define_metric(pattern, step_metric=axis)
    return run


def _run_id(label: Label) -> str:
    """The id of the W&B run, drawn once: a run that goes on in its folder is the same one there."""
    path = label.folder / "wandb.json"
    if not path.exists():
        identity = {"id": secrets.token_hex(4), "name": label.name, "group": label.group}
        write_json(path, identity)
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} names no run of W&B: delete it") from None
