"""A trained policy in a file: weights as data only, with what they were trained for."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from xflowrl._engine import RuleSet, activation_names, operator_names
from xflowrl.agents.ppo.policy import Policy, PolicySettings

FORMAT = "xflowrl-ppo-1"


def new_policy(settings: PolicySettings, rules: RuleSet) -> Policy:
    """An untrained policy for a rule set."""
    return Policy(
        settings,
        num_operators=len(operator_names()) + 1,  # one more: unknown
        num_activations=len(activation_names()),
        num_rules=len(rules),
    )


def save_policy(policy: Policy, rules: RuleSet, path: Path) -> None:
    """Writes a policy: tensors, strings and numbers, no code. Atomic."""
    record = {
        "format": FORMAT,
        "policy": asdict(policy.settings),
        "rule_set": rules.name,
        "rules": list(rules.names),
        "operators": list(operator_names()),
        "activations": list(activation_names()),
        "weights": policy.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    torch.save(record, unfinished)
    unfinished.replace(path)


def load_policy(path: str | Path, rules: RuleSet) -> Policy:
    """Reads a policy; nothing in the file is executed.

    Raises:
        ValueError: not such a file, or trained with other rules or operators.
    """
    record = read_record(path)
    _require_same(path, "rules", record["rules"], rules.names, record["rule_set"], rules.name)
    _require_same(path, "operators", record["operators"], operator_names())
    _require_same(path, "activations", record["activations"], activation_names())
    policy = new_policy(PolicySettings(**record["policy"]), rules)
    policy.load_state_dict(record["weights"])
    return policy


def read_record(path: str | Path) -> dict[str, Any]:
    """The content of a policy's file.

    Raises:
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise ValueError(f"agent.checkpoint={path}: no such file")
    try:
        record: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"agent.checkpoint={path}: not a policy's weights ({type(error).__name__}); give the "
            f"best.pt or last.pt of a training run"
        ) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(
            f"agent.checkpoint={path}: not a policy of this version; give the best.pt or last.pt "
            f"of a training run"
        )
    return record


def _require_same(
    path: str | Path,
    what: str,
    trained: list[str],
    present: list[str],
    trained_name: str = "",
    present_name: str = "",
) -> None:
    if list(trained) == list(present):
        return
    only_trained = [name for name in trained if name not in set(present)]
    only_present = [name for name in present if name not in set(trained)]
    parts = [
        f"{len(trained)} {what} {trained_name}".strip()
        + f", not {len(present)} {present_name}".rstrip()
    ]
    if only_trained:
        parts.append(f"{only_trained[0]!r} is missing here")
    if only_present:
        parts.append(f"{only_present[0]!r} is new here")
    if not only_trained and not only_present:
        parts.append("the order differs")
    raise ValueError(
        f"agent.checkpoint={path} was trained with other {what}: {'; '.join(parts)}. Choose the "
        f"{what} it was trained with, or train again"
    )
