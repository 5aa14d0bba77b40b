"""Policies in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xflowrl._engine import RuleSet, activation_names, operator_names
from xflowrl.agents.ppo.checkpoint import PRETRAINED, load_policy, new_policy, save_policy
from xflowrl.agents.ppo.gallery import make_batch
from xflowrl.agents.ppo.policy import PolicySettings
from xflowrl.env import RewriteEnv
from xflowrl.problem import Problem

MakeProblem = Callable[..., Problem]

RULE = "(rule {name} (Relu (Relu ?x)) => (Relu ?x))"


def rule_set(*names: str) -> RuleSet:
    return RuleSet.parse("\n".join(["(rules toys)", *(RULE.format(name=name) for name in names)]))


def test_a_saved_policy_acts_the_same(relu_problem: MakeProblem, tmp_path: Path) -> None:
    problem = relu_problem(5)
    policy = new_policy(PolicySettings(hidden_size=8, head="flat"), problem.rules)
    save_policy(policy, problem.rules, tmp_path / "some" / "best.pt")
    loaded = load_policy(tmp_path / "some" / "best.pt", problem.rules)
    assert loaded.settings == policy.settings
    batch = make_batch([RewriteEnv(problem).reset()[0]], num_layers=2)
    assert torch.equal(policy(batch)[0].log_probs_A, loaded(batch)[0].log_probs_A)
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["best.pt"]


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (("a", "c"), "2 rules toys, not 2 toys; 'b' is missing here; 'c' is new here"),
        (("a",), "2 rules toys, not 1 toys; 'b' is missing here"),
        (("b", "a"), "the order differs"),
    ],
)
def test_other_rules_are_refused_by_name(
    tmp_path: Path, present: tuple[str, ...], message: str
) -> None:
    trained = rule_set("a", "b")
    path = tmp_path / "best.pt"
    settings = PolicySettings(hidden_size=8, rules="name")
    save_policy(new_policy(settings, trained), trained, path)
    with pytest.raises(ValueError, match=f"was trained with other rules: .*{message}"):
        load_policy(path, rule_set(*present))


def test_other_rules_are_read_as_what_they_say(relu_problem: MakeProblem, tmp_path: Path) -> None:
    problem = relu_problem(5)
    text = problem.rules.rules[0].text
    policy = new_policy(PolicySettings(hidden_size=8), problem.rules)
    save_policy(policy, problem.rules, tmp_path / "best.pt")
    renamed = RuleSet.parse(f"(rules others)\n{text.replace(problem.rules.names[0], 'New')}")
    other = RuleSet.parse("(rules others)\n(rule Old (Tanh ?x) => (Sigmoid ?x))")
    seen = load_policy(tmp_path / "best.pt", problem.rules).rule(torch.tensor([0]))
    assert torch.equal(load_policy(tmp_path / "best.pt", renamed).rule(torch.tensor([0])), seen)
    assert not torch.equal(load_policy(tmp_path / "best.pt", other).rule(torch.tensor([0])), seen)


def test_operators_are_found_by_name(tmp_path: Path) -> None:
    """A policy of a version that has the operators in another order, and lacks one."""
    rules = rule_set("a")
    policy = new_policy(PolicySettings(hidden_size=8), rules)
    save_policy(policy, rules, tmp_path / "best.pt")
    record = torch.load(tmp_path / "best.pt", weights_only=True)
    rows, names = record["weights"]["operator.weight"], record["operators"]
    record["operators"] = names[:0:-1]  # backwards, without the first
    record["weights"]["operator.weight"] = torch.cat([rows[1:-1].flip(0), rows[-1:]])
    torch.save(record, tmp_path / "older.pt")
    loaded = load_policy(tmp_path / "older.pt", rules).state_dict()["operator.weight"]
    assert torch.equal(loaded[1:], rows[1:])
    assert torch.equal(loaded[0], rows[-1])  # unknown


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    rules = rule_set("a")
    with pytest.raises(ValueError, match=r"no such file; give a run's checkpoints/best\.pt or"):
        load_policy(tmp_path / "none.pt", rules)
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match="not a policy's weights"):
        load_policy(tmp_path / "text.pt", rules)
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a policy of this version"):
        load_policy(tmp_path / "other.pt", rules)


class Surprise:
    """Pickled, it would write a file when read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"format": Surprise(tmp_path / "executed")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="not a policy's weights"):
        load_policy(tmp_path / "evil.pt", rule_set("a"))
    assert not (tmp_path / "executed").exists()


def test_a_record_of_the_first_format_is_read(tmp_path: Path) -> None:
    """Made by hand: what files hold that people have."""
    rules = rule_set("a")
    size = {"hidden_size": 8, "num_layers": 1, "head": "flat", "initial_stop": 0.5}
    policy = new_policy(PolicySettings(**size, rules="name"), rules)  # type: ignore[arg-type]
    record = {
        "format": "xflowrl-ppo-1",
        "policy": size,
        "rule_set": "toys",
        "rules": ["a"],
        "operators": list(operator_names()),
        "activations": list(activation_names()),
        "weights": policy.state_dict(),
    }
    torch.save(record, tmp_path / "best.pt")
    weights = load_policy(tmp_path / "best.pt", rules).state_dict()
    assert all(torch.equal(weights[name], w) for name, w in policy.state_dict().items())


def test_the_pretrained_policy_is_part_of_the_package() -> None:
    from xflowrl.rules import load_core

    assert PRETRAINED.stat().st_size < 2_000_000
    policy = load_policy("pretrained", load_core())
    assert policy.settings.rules == "text"
    assert load_policy("pretrained", rule_set("a")).rule(torch.tensor([0])).isfinite().all()


@pytest.mark.parametrize("graph", ["inception_v3", "bert"])
def test_the_pretrained_policy_beats_searches_where_it_never_was(graph: str) -> None:
    from xflowrl.options import build_option, make_problems
    from xflowrl.problem import Budget

    model = build_option("graph", graph)
    rules, prices = build_option("rules", "core"), build_option("measurement", "roofline")
    pretrained = {"train": False, "checkpoint": "pretrained"}
    costs = []
    for agent in (
        build_option("agent", "taso"),
        build_option("agent", "ppo", pretrained | {"num_samples": 1000}),
    ):
        problems = make_problems([model], rules, prices, Budget(max_iterations=1000), seed=0)
        costs.append(agent.optimize(problems, lambda *_: None)[0].cost_best_ms)
    assert costs[1] < costs[0]
