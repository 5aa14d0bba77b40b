"""Run folders as one HTML page, figures for papers, and CSV tables.

  python -m xflowrl.report multirun/DATE/TIME           # a sweep
  python -m xflowrl.report multirun/DATE/TIME/0         # one run, with its graph before and after
  python -m xflowrl.report A B C --out report           # all of them side by side

Beside the page stand the figures and tables: summary.csv, a row a run and graph; search.csv and
training.csv; where budgets are in seconds anytime.csv, what was saved by 0.1, 1, 10 ... s, with
anytime_summary.csv of each set of networks and anytime_pairs.csv of any two agents; proposals.csv
of what raced for real.

Run folders are read and left as they are; those of python -m xflowrl.taso.complexity and of
python -m xflowrl.calibrate count too. The page, index.html, needs no network and no other file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_NEEDED = ("igraph", "jinja2", "matplotlib", "plotly")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if something cannot be read or written, said in one line."""
    options = _parser().parse_args(arguments)
    try:
        from xflowrl.report.writing import write_report
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        print(
            f'error: a report needs {error.name}: run pip install "xflowrl[report]"',
            file=sys.stderr,
        )
        return 1
    try:
        page = write_report(
            options.folders, options.out, formats=options.formats, title=options.title
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"report: {page}")
    return 0


def _formats(text: str) -> list[str]:
    formats = [part for part in text.split(",") if part]
    if unknown := sorted({*formats} - {"png", "pdf", "svg"}):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of png, pdf, svg")
    return formats


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xflowrl.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_OR_SWEEP")
    parser.add_argument(
        "--out", type=Path, help="where to write; a folder report in the first one by default"
    )
    parser.add_argument(
        "--formats",
        type=_formats,
        default=["png", "pdf", "svg"],
        help='of the figures beside the page: "png,pdf,svg", the default, or fewer; "" for none',
    )
    parser.add_argument("--title", help="of the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
