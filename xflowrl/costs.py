"""The costs that were timed on this machine and others: shows, takes along, adds, forgets.

  python -m xflowrl.costs list                 # of which devices and runtimes, and how many
  python -m xflowrl.costs export FILE          # into a new database, to be taken elsewhere
  python -m xflowrl.costs import FILE          # adds those of a database from elsewhere
  python -m xflowrl.costs clear --runtime torch

What was timed on a device that is not here is searched with by its name, as `list` shows it:
python -m xflowrl.run measurement.device="NVIDIA H100 80GB HBM3" measurement.runtime=torch
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from xflowrl.measurement.cost_file import (
    TABLES,
    copy_rows,
    kept,
    open_file,
    read_file,
    where,
    write_file,
)
from xflowrl.measurement.op_database import database_path, errors_of

_FILE = click.Path(path_type=Path)
_WORDS = {"op_cost": "operators", "graph_latency": "graphs"}


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say of which costs."""
    for name in ("precision", "runtime", "device"):
        command = click.option(f"--{name}", help=f"Only those of this {name}.")(command)
    return command


def _only(**columns: str | None) -> dict[str, str]:
    return {name: value for name, value in columns.items() if value is not None}


@click.group(
    help=__doc__.partition("\n")[0],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.option(
    "--database", default="default", help="The file.  [default: that of the user's cache folder]"
)
@click.pass_context
def command(context: click.Context, database: str) -> None:
    context.obj = database_path(database)


@command.command("list")
@click.pass_obj
def list_costs(path: Path) -> None:
    """Show of which devices and runtimes costs are kept."""
    if not path.exists():
        click.echo(f"{path}: no costs are kept yet")
        return
    with errors_of(path, option="--database"), closing(read_file(path)) as connection:
        entries = kept(connection)
    click.echo(f"{path}: {sum(e.num_operators + e.num_graphs for e in entries)} costs")
    for entry in entries:
        about = entry.conditions
        driver = f", driver {about['driver']}" if about["driver"] else ""
        dates = " to ".join(dict.fromkeys(filter(None, (entry.first, entry.last)))) or "undated"
        click.echo(
            f"{about['device']}{driver}: {about['runtime']}, {about['precision']}, "
            f"{_counted(int(about['threads']), 'thread')}: "
            f"{_counted(entry.num_operators, 'operator')}, {_counted(entry.num_graphs, 'graph')}, "
            f"{dates} ({about['version']})"
        )


@command.command("export")
@click.argument("file", type=_FILE)
@_chosen
@click.pass_obj
def export_costs(
    path: Path, file: Path, device: str | None, runtime: str | None, precision: str | None
) -> None:
    """Write costs to FILE, a new database."""
    if file.exists():
        raise ValueError(f'"{file}" exists; give the name of a new file')
    _check_exists(path)
    with (
        errors_of(path, option="--database"),
        closing(read_file(path)) as source,
        closing(open_file(None)) as chosen,
    ):
        only = _only(device=device, runtime=runtime, precision=precision)
        added = copy_rows(source, chosen, only)
        if not any(added.values()):
            raise ValueError(f"{path} has no such costs; `list` shows those there are")
        with errors_of(file, option="FILE"):
            write_file(chosen, file)
    click.echo(f"{file}: {_in_words(added)}")


@command.command("import")
@click.argument("file", type=_FILE)
@click.pass_obj
def import_costs(path: Path, file: Path) -> None:
    """Add the costs of FILE, another database; what is known already stays as it is."""
    _check_exists(file)
    with errors_of(file, option="FILE"):
        source = read_file(file)
    with errors_of(path, option="--database"), closing(source), closing(open_file(path)) as target:
        added = copy_rows(source, target, {})
        found = {t: source.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES}
    click.echo(f"{path}: {_in_words(added)} new of {_in_words(found)}")


@command.command("clear")
@_chosen
@click.option("--all", "everything", is_flag=True, help="Whatever they are of.")
@click.pass_obj
def clear_costs(
    path: Path, everything: bool, device: str | None, runtime: str | None, precision: str | None
) -> None:
    """Forget costs, which are then timed anew."""
    only = _only(device=device, runtime=runtime, precision=precision)
    if everything == bool(only):
        raise ValueError("say which: --device, --runtime or --precision, or else --all")
    removed = dict.fromkeys(TABLES, 0)
    if path.exists():
        condition, values = where(only)
        with errors_of(path, option="--database"), closing(open_file(path)) as target, target:
            for table in TABLES:
                removed[table] = target.execute(f"DELETE FROM {table} {condition}", values).rowcount
    click.echo(f"{path}: {_in_words(removed)} removed")


def _check_exists(file: Path) -> None:
    if not file.is_file():
        raise ValueError(f'"{file}" is no file; give that of a database of costs')


def _in_words(numbers: Mapping[str, int]) -> str:
    return " and ".join(_counted(numbers[table], _WORDS[table][:-1]) for table in TABLES)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def main(arguments: Any = None) -> None:
    """Ends the process with one line where the user got something wrong."""
    try:
        command(arguments, prog_name="python -m xflowrl.costs")
    except (ValueError, OSError) as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
