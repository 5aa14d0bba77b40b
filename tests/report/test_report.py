"""`python -m xflowrl.report`: the files it writes, and what it says to bad input."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib import rc_context
from report_runs import RACED, REAL, MakeRun

from xflowrl.report import curves
from xflowrl.report.__main__ import main
from xflowrl.report.entries import entries
from xflowrl.report.figure import Bar, Figure, Missing, Panel, Points
from xflowrl.report.html import page
from xflowrl.report.interactive import plotly_panel
from xflowrl.report.paper import _STYLE, _sheet
from xflowrl.report.runs import read_runs

COLUMNS_OF_RESULT = (
    *("graph", "agent", "rules", "measurement", "seed", "cost_initial_ms", "cost_best_ms"),
    *("iterations", "candidates", "optimisation_s", "stop_reason", "num_nodes_initial"),
    *("num_nodes_best", "num_steps", "kept_original"),
)


def training(iteration: int) -> dict[str, float]:
    """A row of PPO's metrics."""
    return {
        "step": iteration,
        "train/iteration": iteration,
        "train/seconds": 0.5 * iteration,
        "train/env_steps": 100 * iteration,
        "train/episode_return": 0.1 + 0.02 * iteration,
        "train/learning_rate": 1e-3,
        "train/best_cost_ms": 0.03 - 0.001 * iteration,
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """Three agents, two budgets, two seeds; two graphs; one job that failed."""
    folder, number = tmp_path_factory.mktemp("sweep"), 0
    for agent, cost_ms in (("taso", 0.022), ("greedy", 0.024), ("ppo", 0.022)):
        for limit in (10, 1000):
            for seed in (0, 1):
                changes: dict[str, Any] = {"agent": agent, "seed": seed, "real": [REAL]}
                changes["cost_best_ms"] = cost_ms + 1e-4 * seed + 1e-2 / limit
                if agent == "ppo":
                    changes |= {"train_s": 4.0, "metrics": [training(i) for i in range(1, 9)]}
                if agent == "taso":
                    changes |= {"raced": [RACED]}
                options = {"budget.max_iterations": limit}
                make_run(folder / str(number), options, **changes)
                number += 1
    changes = {"agent": "greedy", "real": [REAL], "kept_original": True}
    make_run(folder / "12", graph="another <b>net</b>", **changes)
    (make_run(folder / "13") / "result.json").unlink()
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on it."""
    folder = tmp_path_factory.mktemp("report") / "out"
    assert main([str(sweep), "--out", str(folder), "--formats", "svg"]) == 0
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def panels(page_text: str) -> dict[str, Any]:
    """What the page hands to plotly."""
    found = re.search(r'<script type="application/json" id="panels">(.*?)</script>', page_text)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_the_table_says_whether_a_run_came_to_its_end(tmp_path: Path, make_run: MakeRun) -> None:
    for name, is_finished in (("0", True), ("1", False)):
        make_run(tmp_path / "runs" / name, finished=is_finished)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--formats", "svg"]) == 0
    rows = read_rows(tmp_path / "out" / "summary.csv")
    assert {row["run"]: row["status"] for row in rows} == {"0": "done", "1": "interrupted"}


def test_the_table_has_what_the_results_have(sweep: Path, report: Path) -> None:
    rows = {row["run"]: row for row in read_rows(report / "summary.csv")}
    assert len(rows) == 14
    for name, row in rows.items():
        path = sweep / name / "result.json"
        if not path.exists():
            assert (row["status"], row["agent"], row["cost_best_ms"]) == ("failed", "taso", "")
            continue
        record = json.loads(path.read_text())
        entry = record["results"][0]
        for column in COLUMNS_OF_RESULT:
            expected = entry[column]
            if isinstance(expected, float):
                assert float(row[column]) == pytest.approx(expected, rel=1e-5), column
            else:
                assert row[column] == str(expected), column
        saved = 1 - entry["cost_best_ms"] / entry["cost_initial_ms"]
        assert float(row["saved"]) == pytest.approx(saved, rel=1e-5)
        assert float(row["train_s"]) == record["train_s"]
        assert row["speedup"] == ("1" if name == "12" else "1.25"), "of what is delivered"
        limit = 1000 if name == "12" else (10, 1000)[int(name) % 4 // 2]
        assert row["budget.max_iterations"] == str(limit), "an option that differs"
    assert "judge.draws" not in rows["0"], "the same everywhere"


def test_figures_are_of_one_graph_each_and_of_all_runs(report: Path) -> None:
    text = (report / "index.html").read_text()
    drawn = panels(text)
    names = {name.partition("/")[0] for name in drawn}
    assert names == {
        *("runtimes", "costs", "optimisation_times", "best_over_iterations", "best_over_seconds"),
        *("best_over_budgets", "pareto", "aggregates", "searches", "training", "races"),
    }
    assert {path.stem for path in (report).glob("*.svg")} == names
    bars = drawn["costs/0"]["data"][0]
    assert bars["y"] == [
        "original",
        *("taso, max_iterations=10", "taso, max_iterations=1000"),
        *("greedy, max_iterations=10", "greedy, max_iterations=1000"),
        *("ppo, max_iterations=10", "ppo, max_iterations=1000"),
    ]
    assert bars["x"][1] == pytest.approx(0.022 + 5e-5 + 1e-3)
    assert drawn["costs/1"]["data"][0]["y"] == ["original", "greedy, max_iterations=1000"]
    assert len(set(drawn["costs/0"]["data"][0]["marker"]["color"])) == 4
    times = drawn["optimisation_times/0"]["data"]
    assert [trace["name"] for trace in times] == ["search", "training"]
    assert times[1]["x"] == [0, 0, 0, 0, 4, 4]
    learning = drawn["training/0"]
    assert [line["y0"] for line in learning["layout"]["shapes"]] == pytest.approx(
        [1 - (ms + 6e-5) / 0.0293 for ms in (0.022, 0.024)], rel=1e-2
    )
    assert "original kept" not in json.dumps(drawn["runtimes/0"])
    assert "1.250x ±1.0%; original kept in 1 of 1" in drawn["runtimes/1"]["data"][0]["hovertext"]
    assert text.count("another &lt;b&gt;net&lt;/b&gt;") >= 1
    assert "<b>net</b>" not in text
    assert "Complexity</b>: no complexity.json: give a folder of" in text
    assert read_rows(report / "training.csv")[0]["env_steps"] == "100"
    assert len(read_rows(report / "search.csv")) > 3


def test_proposals_are_what_raced(tmp_path: Path, make_run: MakeRun) -> None:
    slower = RACED | {"is_found": False, "is_delivered": False, "speedup": 1.1, "takes": "folds 1"}
    raced = [slower | {"speedup": 1.4, "takes": "folds 2"}, RACED]  # the fastest was not proven
    make_run(tmp_path / "0", real=[REAL | {"decides": False, "speedup": 9}, REAL], raced=raced)
    lost = {"kept_original": True, "real": [REAL | {"speedup": 0.9}], "raced": [slower]}
    make_run(tmp_path / "1", agent="greedy", **lost)
    make_run(tmp_path / "2", agent="beam")
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--formats", ""]) == 0
    shown = ("agent", "num_raced", "speedup", "noise", "is_delivered", "found_speedup", "takes")
    rows = [tuple(row[name] for name in shown) for row in read_rows(tmp_path / "out/proposals.csv")]
    assert rows == [
        ("taso", "2", "1.25", "0.01", "True", "1.3", "merges 1"),
        ("greedy", "1", "0.9", "0.01", "False", "", "folds 1"),
    ]


def test_plotly_knows_every_property(report: Path) -> None:
    from plotly.graph_objects import Figure as Plotly

    for drawn in panels((report / "index.html").read_text()).values():
        Plotly(drawn)  # it raises for others


def test_the_page_asks_nothing_of_a_network(report: Path) -> None:
    text = (report / "index.html").read_text()
    from plotly.offline import get_plotlyjs

    own = text.replace(get_plotlyjs(), "")
    assert len(own) < len(text) - 1_000_000, "plotly is in it, once"
    assert own.count("http://www.w3.org/2000/svg") == 1, "a name, which nothing is fetched from"
    assert "http" not in own.replace("http://www.w3.org/2000/svg", "")
    for link in re.findall(r'(?:src|href)="([^"]*)"', own):
        assert link.startswith(("#", "data:,")) or (report / link).is_file()


def test_the_same_runs_give_the_same_files(real_run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main([str(real_run), "--out", str(tmp_path / name)]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_curves_go_on_to_the_end_of_the_longest_search(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "0", agent="taso", iterations=700, optimisation_s=9.0)
    make_run(tmp_path / "1", agent="greedy", iterations=20, optimisation_s=1.0, train_s=2.0)
    found = entries(read_runs([tmp_path / "0", tmp_path / "1"]))
    ends = {curves.best_over_iterations: 700.0, curves.best_over_seconds: 9.0}
    for maker, end in ends.items():
        figure = maker(found)
        assert isinstance(figure, Figure)
        lines = figure.panels[0].lines
        assert [line.x[-1] for line in lines] == [end, end]
        assert lines[0].y[-1] == found[0].improvements[-1].cost_ms


@pytest.mark.parametrize("cost_ms", [0.022, 0.0])
def test_an_axis_of_equal_costs_is_around_them(cost_ms: float) -> None:
    points = Points(name="a", agent="taso", x=[1.0, 2.0], y=[cost_ms, cost_ms * (1 + 1e-9)])
    panel = Panel(title="t", x="s", y="ms", points=[points])
    low, high = plotly_panel(panel)["layout"]["yaxis"]["range"]
    assert low < cost_ms < high < cost_ms + 0.11
    assert high - low == pytest.approx(0.2 * cost_ms or 0.2)
    other = replace(points, y=[cost_ms, cost_ms + 0.01])
    assert "range" not in plotly_panel(replace(panel, points=[other]))["layout"]["yaxis"]
    assert _sheet([panel]).axes[0].get_ylim() == (low, high)


def test_ticks_are_numbers_and_no_offsets_from_one() -> None:
    races = Points(name="taso", agent="taso", x=[1.0, 1.01], y=[0.9994, 1.0004])
    with rc_context(_STYLE):
        sheet = _sheet([Panel(title="races", x="estimated", y="real", points=[races])])
        sheet.savefig(io.BytesIO(), format="png")
        (axes,) = sheet.axes
        assert axes.yaxis.get_offset_text().get_text() == ""
        assert "1.0000" in [label.get_text() for label in axes.get_yticklabels()]


def test_long_names_have_room_and_keep_their_ends() -> None:
    names = [f"a_network_with_a_name_of_exactly_sixty_characters_in_it_no_{n}" for n in range(2)]
    bars = [Bar(name=f"taso, max_iterations={10**n}", agent="taso", value=1.0) for n in range(5)]
    with rc_context(_STYLE):
        sheet = _sheet([Panel(title=name, x="ms", bars=bars) for name in names])
        sheet.savefig(io.BytesIO(), format="png")
    titles = [axes._left_title.get_window_extent() for axes in sheet.axes]  # type: ignore[attr-defined]
    assert all(title.x1 < sheet.bbox.x1 for title in titles)
    assert titles[0].x1 < titles[1].x0
    rows = [{"status": "done", "run": f"taso-{name}-i10-s{n}"} for n, name in enumerate(names)]
    empty: Any = {"figures": [], "files": {}, "complexities": [], "views": [], "missing": []}
    text = page("title", "facts", rows=rows, options=[], **empty)
    shown = re.findall(r">(taso-a_[^<]*)</td>", text)
    assert [name[-4:] for name in shown] == ["0-s0", "0-s1"]
    assert max(map(len, shown)) <= 40


def test_one_run_and_nothing_but_failed_runs(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_run(tmp_path / "one" / "0")
    assert main([str(one), "--formats", ""]) == 0
    assert capsys.readouterr().out == f"report: {one / 'report' / 'index.html'}\n"
    text = (one / "report" / "index.html").read_text()
    assert 'id="rewriting"' in text
    assert "n = 1 run a bar" in text
    assert not [name for name in panels(text) if name.startswith(("pareto", "aggregates"))]
    failed = make_run(tmp_path / "failed" / "0")
    (failed / "result.json").unlink()
    assert main([str(failed), "--formats", ""]) == 0
    text = (failed / "report" / "index.html").read_text()
    assert "1 run, 1 failed" in text
    assert panels(text) == {}
    # What a report wrote is no run, and is replaced.
    assert main([str(tmp_path / "failed"), "--out", str(failed / "report"), "--formats", ""]) == 0


def test_what_a_user_got_wrong_is_one_line(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'error: "{tmp_path / "empty"}" has no run folder in it: give a folder')
    assert not list((tmp_path / "empty").iterdir())
    run = make_run(tmp_path / "0")
    (tmp_path / "file").write_text("")
    assert main([str(run), "--out", str(tmp_path / "file"), "--formats", ""]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path / "file") in line


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "0")
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("before")
    done = subprocess.run(
        [sys.executable, "-m", "xflowrl.report", str(run), "--out", str(out), "--formats", ""],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'error: "{out}" cannot be written: File too large; free some space')
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_text() == "before"


@pytest.mark.parametrize("package", ["plotly", "igraph", "matplotlib"])
def test_a_missing_library_is_one_line(package: str, real_run: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from xflowrl.report.__main__ import main; "
    )
    code += f"sys.exit(main([{str(real_run)!r}, '--out', {str(tmp_path / 'out')!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: a report needs {package}")
    assert line.endswith('run pip install "xflowrl[report]"')


def test_other_verbs_add_their_tables(tmp_path: Path, make_run: MakeRun) -> None:
    counts = {"taso": 1, "valid": 20000, "distinct": 3}
    (tmp_path / "c").mkdir()
    graph = {"graph": "g", "rules": "taso", "faithful": True, "num_substitutions": counts}
    graph |= {"num_locations": counts, "places": [{"id": 7, "name": "r", **counts}]}
    content = {"schema": 1, "graphs": [graph]}
    (tmp_path / "c" / "complexity.json").write_text(json.dumps(content))
    run, table = make_run(tmp_path / "0"), tmp_path / "calibrated"
    table.mkdir()
    known = Path(__file__).resolve().parents[2] / "results" / "calibration_cpu.csv"
    shutil.copy(known, table / "calibration.csv")
    folders = [str(run), str(tmp_path / "c"), str(table)]
    assert main([*folders, "--out", str(tmp_path / "out"), "--formats", ""]) == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<td>7 r</td><td>1</td><td>20,000</td><td>3</td>" in text
    (row,) = read_rows(tmp_path / "out" / "complexity.csv")
    of_graph = {"graph": "g", "rules": "taso", "faithful": "True", "id": "7", "rule": "r"}
    assert row == of_graph | {name: str(count) for name, count in counts.items()}
    assert "g, rules taso, as TASO has them" in text
    drawn = panels(text)
    first = drawn["calibration/0"]["data"][0]
    rows = [row for row in read_rows(known) if row["network"] == "squeezenet"]
    original = next(row for row in rows if row["num_steps"] == "0")
    assert first["x"] == pytest.approx(
        [float(original["estimated_ms"]) / float(row["estimated_ms"]) for row in rows]
    )
    # Each time is a ratio to the original that took turns with it.
    ratios = [
        float(row["real_ms"]) / float(row["original_ms"])
        + float(row["again_ms"]) / float(row["original_again_ms"])
        for row in rows
    ]
    own = ratios[rows.index(original)]
    assert first["y"] == pytest.approx([own / ratio for ratio in ratios])
    assert "1 run" in text, "other verbs are no runs"


def test_nothing_ends_the_script_early() -> None:
    text = page(
        *("</script><script>alert(1)</script>", "facts"),
        figures=[],
        files={},
        complexities=[],
        views=[{"title": "</script>", "states": [], "nodes": [], "edges": []}],
        rows=[{"status": "done", "run": '"><img src=x onerror=alert(1)>'}],
        options=[],
        missing=[Missing("a <i>", "b")],
    )
    assert text.count("</script>") == 4, "those of the page itself"
    assert "<img" not in text
    assert "<i>" not in text


def test_a_figure_without_data_is_no_figure() -> None:
    from xflowrl.report import anytime, comparison, curves, estimates

    makers = [comparison.costs, comparison.runtimes, comparison.optimisation_times]
    makers += [comparison.pareto, comparison.aggregates, curves.searches, curves.trainings]
    makers += [curves.best_over_iterations, curves.best_over_seconds, curves.best_over_budgets]
    makers += [anytime.saved_over_seconds, anytime.saved_by_seconds, estimates.races]
    for maker in [*makers, estimates.calibrations]:
        assert not isinstance(maker([]), Figure)


def chromium() -> str:
    """The browser's path; without one the test is skipped."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if found is None:
        pytest.skip("needs chromium to open the page in")
    return found


def test_a_browser_draws_the_page(report: Path, tmp_path: Path) -> None:
    command = [
        *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,9000"),
        *("--virtual-time-budget=20000", "--proxy-server=127.0.0.1:9", "--dump-dom"),
        f"file://{report / 'index.html'}",
    ]
    body = ""
    for _ in range(3):  # on a busy machine it may give up before a frame was drawn
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        body = done.stdout[done.stdout.index("<body") :]
        if body.count('class="main-svg"') >= 2 * 11:
            break
    assert body.count('class="main-svg"') >= 2 * 11, "plotly drew each figure"
    assert body.count("<title>") >= 7, "nodes that say their names"
    assert re.search(r"3 of 3 rewrites, cost 0\.0\d+ ms", body)
    assert "14 of 14 rows" in body
