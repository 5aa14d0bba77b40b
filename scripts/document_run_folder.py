"""Writes docs/run_folder.md from the records' fields and the table of metrics.

python scripts/document_run_folder.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from xflowrl.metrics import COMPARED, SEARCH, TRAINING
from xflowrl.run_folder import (
    Candidate,
    GraphRecord,
    GraphTrace,
    Quartiles,
    Real,
    RunRecord,
    TraceRecord,
    Verified,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "run_folder.md"

TEXT = """\
# The run folder

Made by `python scripts/document_run_folder.py`; change the texts there, or at the fields in
`xflowrl/run_folder.py` and `xflowrl/metrics.py`.

`result.json` and `trace.json` are interfaces: their keys are stable, and `schema` counts their
versions. `xflowrl.run_folder` reads them (`read_result`, `read_traces`, `read_metrics`), those of
schema 1 too, which had `verified.equal` and `verified.caught_mutant` in place of `verified.status`,
and called the runtimes `onnxruntime_cpu` (now `onnxruntime_plain`) and `onnxruntime_cpu_optimised`
(now `onnxruntime`).
Costs are those of the chosen measurement; times are in the unit that their name ends with.

## Exit codes and interrupts

0: the run came to its end and every result is proven (with `rules.faithful=true` nothing is, and
nothing is exported). 1: an error, or a result is not proven.
130 after Ctrl-C, 143 after SIGTERM, whatever was delivered.

The first Ctrl-C or SIGTERM gives up what is in progress, and no more:

- while graphs are read, nothing is finished and nothing is written;
- a search, or the timing of operators for it, ends with the best so far, which is judged and
  written; graphs whose search had not begun have `stop_reason` `interrupted` and 0 `iterations`;
- a graph whose judging it falls into has `verified.status` `undecided`; all others that are
  finished are judged and written;
- in a sweep, the jobs after it do not run.

`resume=FOLDER` goes on with what was ended, by a kill too ([resume.md](resume.md)).

The second one ends the process at once. Files are written whole or not at all, and `result.json`
anew with every graph that is judged: it has all that was finished.

"""

METRICS_TEXT = """\
## Metrics

A row of `metrics.jsonl` has `step`, the agent's own count of iterations, the axes `iteration` and
`seconds`, which no agent begins anew, and metrics. With several graphs the names begin with
`search/<graph>/`.

"""

WANDB_TEXT = """\
## Weights & Biases

The runs of a sweep lie in one folder: `wandb leet SWEEP/wandb` shows them in the terminal,
`wandb sync SWEEP/wandb` uploads them, from the working directory of the sweep. They are named by
agent, graph, budget, seed and what else differs, and have the sweep as group, the agent as job
type, and choices, options, versions and commit as configuration. The summary has `saved`,
`speedup`, `speedup_noise`, `train_s`, `optimisation_s` and, as `graph/<graph>/...`, the keys of
`results`. Applied rules (a table), models, policy and checkpoint are artifacts; they are uploaded
from where they are. `wandb.json` has the run's `id`, drawn once; `.hydra/name.txt` the run's name,
which the console and the report call it by, too. Where a run has several graphs, `search/...` is of
the graph at work, apart from these, which are the same for every agent:

"""


def table(record: type[Any]) -> str:
    """A record's keys."""
    heading = (record.__doc__ or "").splitlines()[0]
    return f"{heading}\n\n" + rows("key", {f.name: f.metadata["meaning"] for f in fields(record)})


def rows(what: str, meanings: Mapping[str, str]) -> str:
    """A table of names and meanings."""
    lines = [f"| {what} | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in meanings.items()]
    return "\n".join(lines) + "\n\n"


def page() -> str:
    """The whole page."""
    text = TEXT + "## `result.json`\n\n"
    text += "".join(map(table, (RunRecord, GraphRecord, Verified, Real, Quartiles, Candidate)))
    text += "## `trace.json`\n\n" + table(TraceRecord) + table(GraphTrace)
    text += METRICS_TEXT + rows("metric", SEARCH)
    text += "`agent=ppo` logs its training too; `step` is then the training's iteration.\n\n"
    text += rows("metric", TRAINING) + WANDB_TEXT
    return text + rows("name", COMPARED).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
