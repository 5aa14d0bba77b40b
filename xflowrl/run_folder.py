"""The records of a run folder, written and read: `result.json`, `trace.json`, `metrics.jsonl`.

They are interfaces: their keys are the fields below, which docs/run_folder.md is made from. They
are stable and carry the number of their schema; the reader takes earlier ones too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from xflowrl.problem import Improvement, Result, Step, Trace, peak_resident_bytes
from xflowrl.provenance import git_commit, versions
from xflowrl.schema_1 import from_schema_1
from xflowrl.shortage import write_whole

if TYPE_CHECKING:
    from xflowrl.judge import Judgement, Raced
    from xflowrl.measurement.compare import RealMeasurement
    from xflowrl.verify import Verdict

SCHEMA = 2
NOT_JUDGED = "interrupted before it was judged"
DEFERRED = "judged when the run is resumed (judge.when=deferred)"
NEVER_JUDGED = "not judged (judge.when=never)"


def _key(meaning: str, **default: Any) -> Any:
    """A key of a record; one that came later has a `default`."""
    return field(metadata={"meaning": meaning}, **default)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Whether a result computes what its original computes: `verified`."""

    status: Literal["equal", "different", "undecided"] = _key(
        "`equal`, `different`, or `undecided`: not proven, so the original is delivered"
    )
    max_abs_error: float | None = _key("largest difference, over all outputs and draws of weights")
    max_rel_error: float | None = _key("the same in units of the output's standard deviation")
    detail: str = _key("one line: what was compared, what differs, or why it is undecided")

    @classmethod
    def of(cls, verdict: Verdict) -> Verified:
        """What the check found."""
        return cls(
            status=verdict.status,
            max_abs_error=verdict.max_abs_error,
            max_rel_error=verdict.max_rel_error,
            detail=verdict.detail,
        )


def undecided(detail: str) -> Verified:
    """What was not looked at, and why."""
    return Verified(status="undecided", max_abs_error=None, max_rel_error=None, detail=detail)


@dataclass(frozen=True, kw_only=True)
class Quartiles:
    """Of repeated timings, in milliseconds: `initial_ms`, `best_ms`."""

    median: float = _key("the middle one")
    q1: float = _key("a quarter is below")
    q3: float = _key("a quarter is above")


@dataclass(frozen=True, kw_only=True)
class Real:
    """Original and fastest proven file, side by side, on one device in one runtime: `real`."""

    device: str = _key("what they ran on")
    runtime: str = _key("what ran them")
    decides: bool = _key("whether the original is kept unless the file is faster there")
    initial_ms: Quartiles = _key("time of the original")
    best_ms: Quartiles = _key("time of the fastest proven file")
    speedup: float = _key("ratio of the medians")
    noise: float = _key("how far such a ratio of the original to itself is from 1")
    layout: str = _key("of images in memory, where the runtime has tried several", default="")

    @classmethod
    def of(cls, measured: RealMeasurement, *, decides: bool) -> Real:
        """What was measured."""
        return cls(
            device=measured.device,
            runtime=measured.runtime,
            decides=decides,
            initial_ms=Quartiles(**measured.initial.quartiles()),
            best_ms=Quartiles(**measured.best.quartiles()),
            speedup=measured.speedup,
            noise=measured.noise,
            layout=measured.layout,
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A state that was measured for real, beside others in one race: an entry of `raced`."""

    takes: str = _key("what it rewrites, in words, of all that the states of the race do")
    is_found: bool = _key("it is what the search found, as it is")
    is_delivered: bool = _key("it became `best_onnx`; timed once more, alone, for `real`")
    num_steps: int = _key("rewrites in it")
    cost_ms: float | None = _key("its cost; null if it is not known")
    speedup: float = _key("of the race: the original's median time over its own")
    noise: float = _key("how far such a ratio of the original to itself is from 1")
    num_rounds: int = _key("so many rounds it stayed in the race, of which the slower half is out")

    @classmethod
    def of(cls, raced: Raced) -> Candidate:
        """What was measured."""
        return cls(**asdict(raced) | {"cost_ms": _known(raced.cost_ms)})


@dataclass(frozen=True, kw_only=True)
class GraphRecord:
    """What came out for one graph: an entry of `results`."""

    graph: str = _key("its name")
    agent: str = _key("the option chosen in the group `agent`")
    rules: str = _key("the option chosen in the group `rules`")
    measurement: str = _key("the option chosen in the group `measurement`")
    seed: int = _key("of everything random")
    cost_initial_ms: float | None = _key(
        "cost of the original; null if the run was interrupted before it was known"
    )
    cost_best_ms: float | None = _key("cost of the best graph found; null likewise")
    iterations: int = _key("states whose matches were listed")
    candidates: int = _key("matches whose cost was asked for")
    measurements: int = _key("operators timed")
    measure_s: float = _key("seconds it took to time operators and graphs")
    best_iteration: int = _key("when the best was found")
    best_seconds: float = _key("the same in seconds of searching")
    optimisation_s: float = _key(
        "seconds of matching, costs and search: no import, export, logging or timing"
    )
    memory_mb: float = _key("growth of resident memory during the search")
    stop_reason: str = _key(
        "`exhausted` (nothing left to try), `no_match` (no rule matches the original), "
        "`iterations`, `candidates`, `seconds`, `wall_s`, `measurements`, `real_measurements`, "
        "`memory`, `patience` (limits), `interrupted`"
    )
    num_unexpanded: int | None = _key(
        "`taso`, `exhaustive`: graphs reached whose matches were not listed any more, `taso` "
        "counting each way to them; `exhaustive` with 0: the best is optimal"
    )
    num_dropped: int = _key("`taso`: such graphs given up to stay below `budget.max_memory_mb`")
    num_nodes_initial: int = _key("operators of the original, constants not counted")
    num_nodes_best: int = _key("operators of the best graph")
    num_kernels_initial: int = _key("operators of the original that cost something")
    num_kernels_best: int = _key("operators of the best graph that cost something")
    num_steps: int = _key("applied rewrites")
    real: tuple[Real, ...] = _key("the final measurement, below, once for every runtime")
    verified: Verified = _key("the proof, below")
    kept_original: bool = _key("nothing proven was faster, so `best_onnx` is the original")
    best_onnx: str | None = _key("the model's file name; null if none was written")
    num_steps_delivered: int | None = _key(
        "rewrites in `best_onnx`; null in earlier records", default=None
    )
    real_measurements: int = _key("whole graphs executed to be timed", default=0)
    given_up: tuple[str, ...] = _key(
        "rules of rewrites that were not proven and left out", default=()
    )
    detail: str = _key("why the original was kept; empty if it was not", default="")
    raced: tuple[Candidate, ...] = _key("what raced for real, fastest first, below", default=())
    bound_ms: float | None = _key("`egraph`: no graph it has seen costs less", default=None)
    extracted_ms: float | None = _key("`egraph`: the cheapest found of these", default=None)

    @property
    def is_final(self) -> bool:
        """Whether neither its search nor its judging was cut short."""
        is_judged = self.verified.detail not in (NOT_JUDGED, DEFERRED)
        return is_judged and not self.was_interrupted

    @property
    def was_interrupted(self) -> bool:
        """Whether its search was cut short."""
        return self.stop_reason == "interrupted"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of `result.json`."""

    schema: int = _key(str(SCHEMA))
    results: tuple[GraphRecord, ...] = _key("one entry a graph, below")
    train_s: float = _key("seconds spent training, which no budget counts")
    peak_rss_mb: float = _key("the most memory the process held")
    versions: Mapping[str, str] = _key("of Python and of packages")
    git_commit: str | None = _key("of the source tree, `-dirty` if changed; null without one")
    overrides: tuple[str, ...] = _key("what the command line changed")
    finished: bool = _key("the run came to its end; if not, `resume=` goes on", default=True)


@dataclass(frozen=True, kw_only=True)
class GraphTrace:
    """The way to one graph's result: an entry of `traces`."""

    graph: str = _key("its name")
    graph_hash: str = _key("of the graph it starts from")
    steps: tuple[Step, ...] = _key("`rule`, the `tensors` it binds, `cost_ms` after it")
    improvements: tuple[Improvement, ...] = _key(
        "`iteration`, `seconds` and `cost_ms` of every new best"
    )


@dataclass(frozen=True, kw_only=True)
class TraceRecord:
    """The content of `trace.json`."""

    schema: int = _key(str(SCHEMA))
    traces: tuple[GraphTrace, ...] = _key("one entry a graph, below")


Record = TypeVar("Record", RunRecord, TraceRecord)


def graph_record(
    result: Result,
    verified: Verified,
    *,
    labels: Mapping[str, Any],
    judgement: Judgement | None = None,
    best_onnx: str | None = None,
) -> GraphRecord:
    """One entry of `results` in `result.json`.

    Args:
        labels: agent, rules, measurement, seed.
        judgement: what was delivered, if anything was.
        best_onnx: the model's file name in the run folder; None if it was not written.
    """
    real = judgement.real if judgement is not None else None
    return GraphRecord(
        **labels,
        graph=result.graph,
        cost_initial_ms=_known(result.cost_initial_ms),
        cost_best_ms=_known(result.cost_best_ms),
        iterations=result.iterations,
        candidates=result.candidates,
        measurements=result.measurements,
        real_measurements=result.real_measurements,
        measure_s=result.measure_s,
        best_iteration=result.best_iteration,
        best_seconds=result.best_seconds,
        optimisation_s=result.optimisation_s,
        memory_mb=result.memory_mb,
        stop_reason=str(result.stop_reason),
        num_unexpanded=result.num_unexpanded,
        num_dropped=result.num_dropped,
        num_nodes_initial=result.num_nodes_initial,
        num_nodes_best=result.num_nodes_best,
        num_kernels_initial=result.num_kernels_initial,
        num_kernels_best=result.num_kernels_best,
        num_steps=len(result.trace.steps),
        real=(Real.of(real, decides=True),) if real is not None else (),
        verified=verified,
        kept_original=judgement is not None and judgement.kept_original,
        best_onnx=best_onnx,
        num_steps_delivered=len(judgement.steps) if judgement is not None else None,
        given_up=(*judgement.given_up, *judgement.fixed) if judgement is not None else (),
        detail=judgement.detail if judgement is not None else "",
        raced=tuple(map(Candidate.of, judgement.raced)) if judgement is not None else (),
        bound_ms=result.bound_ms,
        extracted_ms=result.extracted_ms,
    )


def run_record(
    results: Sequence[GraphRecord], *, train_s: float, overrides: Sequence[str]
) -> RunRecord:
    """The content of `result.json`."""
    return RunRecord(
        schema=SCHEMA,
        results=tuple(results),
        train_s=train_s,
        peak_rss_mb=peak_resident_bytes() / 2**20,
        versions=versions(),
        git_commit=git_commit(),
        overrides=tuple(overrides),
        finished=False,
    )


def trace_record(results: Sequence[Result]) -> TraceRecord:
    """The content of `trace.json`."""
    traces = (
        GraphTrace(
            graph=result.graph,
            graph_hash=result.trace.graph_hash,
            steps=result.trace.steps,
            improvements=tuple(i for i in result.improvements if math.isfinite(i.cost_ms)),
        )
        for result in results
    )
    return TraceRecord(schema=SCHEMA, traces=tuple(traces))


def read_result(folder: Path) -> RunRecord:
    """The `result.json` of a run folder.

    Raises:
        ValueError: it is none, or of a schema this version does not read.
        OSError: there is none.
    """
    return _read(folder / "result.json", RunRecord)


def read_trace_record(folder: Path) -> TraceRecord:
    """The `trace.json` of a run folder; raises what `read_result` raises."""
    return _read(folder / "trace.json", TraceRecord)


def read_traces(folder: Path) -> dict[str, Trace]:
    """The traces of a run folder, by graph, to be replayed; raises what `read_result` raises."""
    record = read_trace_record(folder)
    return {entry.graph: Trace(entry.graph_hash, entry.steps) for entry in record.traces}


def read_metrics(folder: Path) -> Iterator[dict[str, float | None]]:
    """Yields the rows of a run folder's `metrics.jsonl`, without one that a kill cut off.

    Raises:
        ValueError: a line is no row.
        OSError: there is no such file.
    """
    with (folder / "metrics.jsonl").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.endswith("\n"):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    raise ValueError(f"{lines.name} is no metrics.jsonl of a run: {line[:80]!r}")
                yield row


def _read(path: Path, kind: type[Record]) -> Record:
    from pydantic import ValidationError

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
        if schema == 1:
            content = from_schema_1(content) | {"schema": SCHEMA}
        elif schema != SCHEMA:
            raise ValueError(
                f"{path} has schema {schema}: this version reads schemas 1 to {SCHEMA}"
            )
        record: Record = _adapter(kind).validate_python(content)  # type: ignore[arg-type]
        return record
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} is no {path.name} of a run: {place}: {first['msg']}") from None
    except (
        *(json.JSONDecodeError, UnicodeDecodeError, RecursionError),
        *(AttributeError, KeyError, TypeError),
    ) as error:
        raise ValueError(f"{path} is no {path.name} of a run: {error}") from None


@cache
def _adapter(kind: Any) -> Any:
    """What checks a record; it takes milliseconds to make, and a report reads thousands."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def write_record(folder: Path, record: RunRecord | TraceRecord) -> None:
    """Writes `result.json` or `trace.json`, whole or not at all."""
    name = "result.json" if isinstance(record, RunRecord) else "trace.json"
    write_json(folder / name, asdict(record))


def _known(cost_ms: float) -> float | None:
    return cost_ms if math.isfinite(cost_ms) else None


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all; numbers JSON does not know (nan, inf) become null."""
    write_whole(path, f"{json.dumps(_finite(record), indent=2, allow_nan=False)}\n".encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
