"""How far the search of a graph is, in a file of the run folder: data only, written whole."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from xflowrl.problem import (
    Improvement,
    Problem,
    Progress,
    Result,
    Step,
    StopReason,
    Tally,
    Trace,
    replay,
)
from xflowrl.shortage import write_whole

_EVERY_S = 5.0

_MODELS = ("original", "model")  # of a result; the trace leads from one to the other


class SearchFile:
    """The `Checkpoint` of one graph: what it spent and decided, and at its end what it found.

    It is written every five seconds at most, so that a search that took no longer has none, and is
    simply made again.

    Args:
        is_resumed: go on with what is there; otherwise it is removed.
        keeps_result: write what was found, however short a search it was.

    Raises:
        ValueError: what is there is no such file.
    """

    def __init__(self, path: Path, *, is_resumed: bool, keeps_result: bool = False) -> None:
        self._path = path
        self._keeps_result = keeps_result
        self._saved_s = time.monotonic()
        self._result: dict[str, Any] | None = None
        self.before: Progress | None = None
        if not is_resumed:
            path.unlink(missing_ok=True)
        elif path.exists():
            try:
                saved = json.loads(path.read_text(encoding="utf-8"))
                self._result = saved["result"]
                self.before = _progress(saved["progress"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise self._damaged(error) from None

    def is_due(self) -> bool:
        """Whether it was written long enough ago."""
        return time.monotonic() - self._saved_s >= _EVERY_S

    def save(self, progress: Progress) -> None:
        """Writes how far the search is."""
        self._write(progress=asdict(progress), result=None)

    def finish(self, result: Result) -> None:
        """Writes what was found, if finding it again would take long."""
        if not (self._keeps_result or self.is_due() or self._path.exists()):
            return
        plain = {f.name: getattr(result, f.name) for f in fields(Result) if f.name not in _MODELS}
        self._write(progress=None, result=plain)

    def result(self, problem: Problem) -> Result | None:
        """What was found before, its model made again by its trace.

        Raises:
            ValueError: the trace fits neither the graph nor the rules.
        """
        if self._result is None:
            return None
        try:
            return _result(self._result, problem)
        except (KeyError, TypeError) as error:
            raise self._damaged(error) from None

    def _write(self, **content: Any) -> None:
        # Costs that are not known are NaN, which this reader and writer of JSON have in common.
        write_whole(self._path, json.dumps(content, default=asdict).encode())
        self._saved_s = time.monotonic()

    def _damaged(self, error: Exception) -> ValueError:
        what = f"{type(error).__name__}: {error}"
        return ValueError(
            f"{self._path} is damaged ({what}): remove it to search from the beginning"
        )


def _progress(saved: dict[str, Any] | None) -> Progress | None:
    if saved is None:
        return None
    return Progress(
        spent=Tally(**saved["spent"]),
        noise_ms=saved["noise_ms"],
        best_cost_ms=saved["best_cost_ms"],
        improvements=_improvements(saved),
        drops=tuple((int(at), int(times)) for at, times in saved["drops"]),
        explored=tuple(map(int, saved.get("explored", ()))),
    )


def _improvements(saved: dict[str, Any]) -> tuple[Improvement, ...]:
    return tuple(Improvement(**each) for each in saved["improvements"])


def _result(saved: dict[str, Any], problem: Problem) -> Result:
    steps = (
        Step(step["rule"], tuple(step["tensors"]), step["cost_ms"])
        for step in saved["trace"]["steps"]
    )
    trace = Trace(saved["trace"]["graph_hash"], tuple(steps))
    made: dict[str, Any] = {
        "original": problem.model,
        "model": problem.model.with_graph(replay(problem, trace).graph),
        "trace": trace,
        "improvements": _improvements(saved),
        "stop_reason": StopReason(saved["stop_reason"]),
    }
    return Result(**saved | made)
