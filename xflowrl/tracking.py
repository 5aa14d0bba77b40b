"""Metrics to `metrics.jsonl` and to Weights & Biases; the only import of wandb."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from xflowrl.run_folder import read_metrics
from xflowrl.shortage import space_for, write_whole

if TYPE_CHECKING:
    from xflowrl.problem import Result
    from xflowrl.run_folder import RunRecord


@dataclass(frozen=True, kw_only=True)
class WandbSettings:
    """How a run appears in Weights & Biases.

    Attributes:
        mode: "offline" writes into the run folder (`wandb sync` uploads it later), "online" needs
            a login, "disabled" leaves wandb out; `metrics.jsonl` is written in every mode.
    """

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "xflowrl"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: Sequence[str] = ()


class Tracker:
    """Writes what a run logs. A context manager: leaving it closes files and the W&B run."""

    def __init__(
        self,
        folder: Path,
        settings: WandbSettings,
        config: Mapping[str, Any],
        *,
        is_resumed: bool = False,
    ) -> None:
        self._path = folder / "metrics.jsonl"
        self._seen: set[tuple[str, int]] = set()
        self._clocks: dict[str, float] = {}
        if is_resumed and self._path.exists():
            self._take_up()
        with space_for(self._path):
            mode = "a" if is_resumed else "w"
            self._file = self._path.open(mode, encoding="utf-8", buffering=1)
        self._run: Any = None
        if settings.mode != "disabled":
            try:
                run_id = _run_id(folder, is_resumed=is_resumed)
                self._run = _start_wandb(folder, settings, config, run_id)
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
        try:
            with space_for(self._path):
                self._file.close()
        finally:
            if self._run is not None:
                self._run.finish(exit_code=0 if error is None else 1)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Writes one row: the metrics, and `step`, the iteration they belong to.

        In a resumed run a row that was written before is left out, and no clock is behind it.
        """
        if self._seen and _place(metrics, step) in self._seen:
            return
        if self._clocks:
            metrics = {n: max(value, self._clocks.get(n, value)) for n, value in metrics.items()}
        row = {"step": step} | {
            name: value if math.isfinite(value) else None for name, value in metrics.items()
        }
        with space_for(self._path):
            self._file.write(json.dumps(row) + "\n")
        if self._run is not None:
            self._run.log({"step": step, **metrics, **_by_time(metrics)})

    def _take_up(self) -> None:
        """Takes note of the rows that are there, and takes away one that a kill cut off."""
        content = self._path.read_bytes()
        os.truncate(self._path, content.rfind(b"\n") + 1)
        for row in read_metrics(self._path.parent):
            step = int(row.pop("step") or 0)
            self._seen.add(_place(row, step))
            clocks = {name: value for name, value in row.items() if name.endswith("/seconds")}
            self._clocks |= {name: value for name, value in clocks.items() if value is not None}

    def finish(self, results: Sequence[Result], record: RunRecord, folder: Path) -> None:
        """Hands over what only the end knows: summary, applied rules, the best models.

        Args:
            record: the content of `result.json`.
            folder: where the files named by the record's `best_onnx` lie.
        """
        if self._run is None:
            return
        import wandb

        for result, entry in zip(results, record.results, strict=True):
            prefix = f"{result.graph}/" if len(results) > 1 else ""
            values = asdict(entry)
            for name, value in values.items():
                if isinstance(value, str | int | float | bool):
                    self._run.summary[prefix + name] = value
            self._run.summary[prefix + "real"] = values["real"]
            rows = [
                [index, step.rule, " ".join(step.tensors), step.cost_ms]
                for index, step in enumerate(result.trace.steps)
            ]
            table = wandb.Table(columns=["index", "rule", "tensors", "cost_ms"], data=rows)
            self._run.log({f"{prefix}applied_rules": table})
            if entry.best_onnx:
                artifact = wandb.Artifact(_artifact_name(result.graph), type="model")
                artifact.add_file(str(folder / entry.best_onnx))
                self._run.log_artifact(artifact)


def _place(metrics: Mapping[str, float | None], step: int) -> tuple[str, int]:
    """What a row is about: a training or a search, and the iteration."""
    return next(iter(metrics), "").rpartition("/")[0], step


def _by_time(metrics: Mapping[str, float]) -> dict[str, float]:
    """The costs of a search once more, to be drawn against its seconds."""
    named = {
        f"by_time/{name.removeprefix('search/')}": value
        for name, value in metrics.items()
        if name.startswith("search/") and name.endswith("cost_ms")
    }
    seconds = [value for name, value in metrics.items() if name.endswith("/seconds")]
    return named | {"by_time/seconds": seconds[0]} if named and seconds else {}


def _artifact_name(graph: str) -> str:
    return "best-" + re.sub(r"[^\w.-]+", "_", graph)[:100]


def _run_id(folder: Path, *, is_resumed: bool) -> str:
    """What W&B knows the run by, a resumed one by what it was known by before."""
    path = folder / ".hydra" / "wandb_run_id"
    if not (is_resumed and path.exists()):
        write_whole(path, secrets.token_hex(4).encode())
    return path.read_text(encoding="utf-8")


def _start_wandb(
    folder: Path, settings: WandbSettings, config: Mapping[str, Any], run_id: str
) -> Any:
    # W&B stages artifacts outside the run otherwise, and a run folder would not be complete.
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ[variable] = str(folder / "wandb")
    import wandb

    run = wandb.init(
        mode=settings.mode,
        project=settings.project,
        entity=settings.entity,
        group=settings.group,
        name=settings.name,
        tags=list(settings.tags),
        id=run_id,
        resume="allow",
        dir=str(folder),
        config=dict(config),
        settings=wandb.Settings(silent=True, console="off"),
        reinit="finish_previous",
    )
    run.define_metric("*", step_metric="step")
    run.define_metric("by_time/*", step_metric="by_time/seconds")
    return run
