"""`xflowrl model.onnx -o faster.onnx`: a file in, a faster one out, proven equal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from xflowrl.cli.interrupts import EndNow, Interrupts
from xflowrl.cli.system_errors import system_error

_FILE = click.Path(path_type=Path, readable=False)  # whether it is, is said in one line below


class _Shape(click.ParamType[tuple[str, list[int]]]):
    """`NAME=1,3,320,320`; the name may have any character."""

    name = "NAME=SIZES"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, list[int]]:
        name, _, sizes = value.rpartition("=")
        try:
            if not name:
                raise ValueError
            return name, [int(size) for size in sizes.split(",") if sizes]
        except ValueError:
            self.fail(f"{value!r}: give NAME=1,3,224,224", param, ctx)


def _agents(ctx: click.Context, param: click.Parameter, start: str) -> list[CompletionItem]:
    from xflowrl.options import conf_folder

    names = sorted(file.stem for file in (conf_folder() / "agent").glob("*.yaml"))
    return [CompletionItem(name) for name in names if name.startswith(start)]


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Completion: eval \"$(_XFLOWRL_COMPLETE=bash_source xflowrl)\" (or zsh_source, "
    "fish_source). Experiments: python -m xflowrl.run --help",
)  # fmt: skip
@click.argument("model", type=_FILE)
@click.option(
    "-o", "--out", type=_FILE, help="The file to write.  [default: MODEL.faster.onnx beside it]"
)
@click.option(
    "--agent", default="taso", show_default=True, shell_complete=_agents, help="Who searches."
)
@click.option(
    "--seconds", type=float, help="About so long.  [default: 5 to 60, by the model's size]"
)
@click.option("--threads", default=1, show_default=True, help="Of the runtime it is deployed in.")
@click.option("--inputs", type=_FILE, help="An .npz file of inputs to prove and time on.")
@click.option(
    "--shape", "shapes", type=_Shape(), multiple=True, help="Of an input; may be repeated."
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE",
    help="Any other option, as in conf/: agent.alpha=1.1, rules=file, rules.path=my.rules, "
    "measurement=roofline, budget.max_iterations=100, judge.draws=5; may be repeated.",
)  # fmt: skip
@click.version_option(version("xflowrl"), "-V", "--version", prog_name="xflowrl")
def command(
    model: Path,
    out: Path | None,
    agent: str,
    seconds: float | None,
    threads: int,
    inputs: Path | None,
    shapes: Sequence[tuple[str, list[int]]],
    settings: Sequence[str],
) -> None:
    """Make the ONNX file MODEL faster.

    What is written computes the same, which is proven, and is faster in ONNX Runtime on this
    machine, which is measured; where nothing is found it is a copy of MODEL.
    """
    interrupts = Interrupts()
    try:
        from xflowrl.api import optimize_file
        from xflowrl.console import StatusLine, print_delivery, printing
        from xflowrl.options import read_settings
        from xflowrl.shortage import memory_for

        with interrupts, StatusLine() as status, memory_for(model):
            delivery = optimize_file(
                *(model, out),
                agent=agent,
                seconds=seconds,
                threads=threads,
                inputs=inputs,
                shapes=dict(shapes),
                settings=read_settings(settings),
                watcher=status,
            )
        with printing():
            print_delivery(delivery)
    except (KeyboardInterrupt, EndNow):
        click.echo("interrupted", err=True)
        sys.exit(interrupts.exit_code or 130)
    except (ValueError, OSError, MemoryError) as error:
        text = system_error(error) if isinstance(error, OSError) else str(error)
        click.echo(f"error: {' '.join(text.split())}", err=True)
        sys.exit(1)


def main() -> None:
    """The console script `xflowrl`."""
    command(prog_name="xflowrl")
