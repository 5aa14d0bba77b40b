"""The presets of `conf/experiment`, and who runs the jobs of a sweep."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import xflowrl
from xflowrl.cli.jobs import _check, _plain
from xflowrl.graphs.tiny import tiny
from xflowrl.options import conf_folder

PRESETS = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))

# What a preset cannot know.
GIVEN = {
    "zero_shot": ["agent.checkpoint=best.pt"],
    "study_complexity": ["rules.path=graph_subst.pb"],
}

QUICK = ("graph=tiny", "judge.measure=false", "wandb.mode=disabled")


def composed(overrides: list[str]) -> Any:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides, return_hydra_config=True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xflowrl.run", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_promised_presets_are_there() -> None:
    promised = """
        study_runtimes study_optimisation_times study_search_curve study_complexity study_nasbench
        budget_sweep real_vs_estimated zero_shot study_complex_graphs smoke
    """
    assert set(promised.split()) <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_job_of_a_preset_is_a_run(name: str) -> None:
    if name == "tune" and importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("Optuna's sweeper is an extra")
    preset = [f"experiment={name}", *GIVEN.get(name, [])]
    config = composed(preset)
    params = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    assert isinstance(params, dict)
    assert bool(params) == (config.hydra.mode is not None), "a sweep says so, and needs no -m"
    if name == "tune":
        params = {}
    values = {key: str(text).split(",") for key, text in params.items()}
    swept = {key: of for key, of in values.items() if key.partition(".")[0] not in values}
    swept |= {key: of for key, of in values.items() if "." not in key}
    jobs = set(itertools.zip_longest(*([f"{key}={v}" for v in of] for key, of in swept.items())))
    for key in values.keys() - swept.keys():  # of a group that is swept: where an option has it
        group, _, name = key.partition(".")
        options = {o: conf_folder() / group / f"{o}.yaml" for o in values[group]}
        option = next((o for o, path in options.items() if name in OmegaConf.load(path)), None)
        if option is None:  # of an agent that the preset beneath this one has
            assert name in {"alpha"}
            continue
        jobs |= {(f"{group}={option}", f"{key}={value}") for value in values[key]}
    for job in jobs or {()}:  # every value once, not with every other
        _check(_plain(composed([*preset, *filter(None, job)]), resolve=False))


def test_zero_shot_is_refused_without_a_trained_policy(tmp_path: Path) -> None:
    done = run(tmp_path, "experiment=zero_shot", "seed=0", *QUICK)
    assert done.returncode == 1
    assert "best.pt" in done.stderr
    assert "Traceback" not in done.stderr
    assert not results(tmp_path)


def test_budget_sweep_is_three_searches_four_budgets_and_three_seeds() -> None:
    params = composed(["experiment=budget_sweep"]).hydra.sweeper.params
    assert [len(str(value).split(",")) for value in params.values()] == [3, 4, 3]
    assert params.agent == "taso,greedy,random_search"


def test_finding_repeats_what_draws_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflowrl.cli import jobs
    from xflowrl.cli.sweeps import jobs_of

    monkeypatch.chdir(tmp_path)
    seeds: dict[str, set[object]] = {}

    def task(job: jobs.Job) -> None:
        seeds.setdefault(job.choices["agent"], set()).add(job.config["agent"].get("seed"))
        assert (job.config["seed"], job.config["graph"]["seed"]) == (0, 0), "one set of networks"

    given = ("experiment=finding", "graph=unseen_cells", "hydra/launcher=basic")
    monkeypatch.setattr(sys, "argv", ["run", "-m", *given, "hydra.sweep.dir=s"])
    jobs.main(task)
    num_jobs = Counter(
        o.removeprefix("agent=")
        for job in jobs_of(tmp_path / "s")
        for o in job
        if o.startswith("agent=")
    )
    assert {"random_search": 5, "greedy": 1, "taso": 3, "ppo": 5}.items() <= num_jobs.items()
    assert seeds["ppo"] == seeds["random_search"] == {0, 1, 2, 3, 4}
    assert seeds["taso"] == {None}


def results(folder: Path) -> list[Path]:
    return sorted(folder.glob("multirun/*/*/*/result.json"))


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    done = run(tmp_path, "experiment=budget_sweep", "seed=0", "budget.max_iterations=2", *QUICK)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path)) == 3


def living(session: int) -> list[str]:
    """The processes of a session that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:  # it ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_jobs_that_run_side_by_side(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    endless = ("graph=squeezenet", "agent=random_search", "budget.max_iterations=null")
    command = [sys.executable, "-m", "xflowrl.run", "-m", "hydra/launcher=joblib", "seed=0,1,2"]
    sweep = subprocess.Popen(
        [*command, *endless, "measurement=roofline", "wandb.mode=disabled"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not [*tmp_path.glob("multirun/*/*/*/metrics.jsonl")] and time.monotonic() < until:
        time.sleep(0.1)
    sweep.send_signal(number)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == code
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    until = time.monotonic() + 20
    while living(sweep.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert living(sweep.pid) == []


@pytest.mark.slow
def test_jobs_run_through_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    options = ("hydra/launcher=submitit_local", "budget.max_iterations=2", "measurement=roofline")
    done = run(tmp_path, "-m", "agent=taso,greedy", *options, *QUICK)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path)) == 2


@pytest.mark.slow
def test_jobs_run_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="Ray's launcher is an extra")
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    swept = ("graph=onnx", "graph.path=model.onnx,none.onnx", "agent=taso,greedy", "seed=0")
    options = ("hydra/launcher=ray", "budget.max_iterations=2", *QUICK[1:])
    xflowrl.save_onnx(tiny(), tmp_path / "model.onnx")
    done = run(tmp_path, "experiment=budget_sweep", *swept, *options, "hydra.sweep.dir=sweep")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count('error: model "none.onnx" does not exist') == 2
    assert "4 of 4 jobs, 2 failed" in done.stdout
    assert "to go on: python -m xflowrl.run resume=sweep" in done.stdout
    assert len([*tmp_path.glob("sweep/*/result.json")]) == 2

    shutil.copy(tmp_path / "model.onnx", tmp_path / "none.onnx")
    resumed = run(tmp_path, "resume=sweep")
    assert resumed.returncode == 0, resumed.stderr
    assert "4 of 4 jobs " in resumed.stdout
    assert len([*tmp_path.glob("sweep/*/result.json")]) == 4


@pytest.mark.slow
def test_optuna_leads_a_sweep_by_the_best_cost(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    done = run(tmp_path, "experiment=tune", "hydra.sweeper.n_trials=4", *QUICK[1:])
    assert done.returncode == 0, done.stderr
    assert "job 4/4 taso-random-i100-s0-alpha1" in done.stdout
    (found,) = tmp_path.glob("multirun/*/*/optimization_results.yaml")
    assert (found.parent / "multirun.yaml").exists(), "resume= needs it"
    best: Any = OmegaConf.load(found)
    assert set(best.best_params) == {"agent.alpha", "agent.size_limit"}
    costs = [json.loads(p.read_text())["results"][0]["cost_best_ms"] for p in results(tmp_path)]
    assert best.best_value == pytest.approx(min(costs), rel=1e-12)


def test_the_task_returns_the_best_cost_of_all_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflowrl import run as run_module
    from xflowrl.cli import jobs

    monkeypatch.chdir(tmp_path)
    returned: list[float] = []

    def task(job: jobs.Job) -> float:
        returned.append(run_module.optimize(job))
        return returned[0]

    options = ("graph=networks", "graph.names=[tiny,squeezenet]", "measurement=roofline")
    quick = ("agent=greedy", "judge.measure=false", "wandb.mode=disabled")
    monkeypatch.setattr(sys, "argv", ["run", *options, *quick])
    jobs.main(task)
    (path,) = results(tmp_path)
    entries = json.loads(path.read_text())["results"]
    assert returned == [pytest.approx(sum(entry["cost_best_ms"] for entry in entries))]
    assert len(entries) == 2


def test_a_recorded_configuration_runs_again(tmp_path: Path) -> None:
    options = ("agent=taso", "agent.alpha=1.2", "measurement=roofline", *QUICK)
    assert run(tmp_path, *options, "hydra.run.dir=first").returncode == 0
    again = run(tmp_path, "-cp", "first/.hydra", "-cn", "config", "seed=1")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    (folder,) = tmp_path.glob("multirun/*/*/0")
    first, second = (
        OmegaConf.load(f / ".hydra" / "config.yaml") for f in (tmp_path / "first", folder)
    )
    assert second.seed == 1
    second.seed = 0
    assert first == second
    assert '"agent": "taso"' in (folder / "result.json").read_text()


def test_a_command_without_options_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xflowrl.cli import jobs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run"])
    jobs.main(lambda job: None)
    said = capsys.readouterr().out
    assert said.startswith("no option is given: agent=greedy budget=default graph=nasbench_3x3 ")
    monkeypatch.setattr(sys, "argv", ["run", "seed=1"])
    jobs.main(lambda job: None)
    assert capsys.readouterr().out == ""
