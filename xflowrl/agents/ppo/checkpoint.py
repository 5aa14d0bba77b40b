"""A trained policy in a file: weights as data only, with what they were trained for."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from xflowrl._engine import RuleSet, activation_names, operator_names
from xflowrl.agents.ppo.policy import Policy, PolicySettings
from xflowrl.agents.ppo.rule_features import rule_features
from xflowrl.shortage import is_no_memory, write_whole

FORMAT = "xflowrl-ppo-2"
_FIRST_FORMAT = "xflowrl-ppo-1"  # rules by name
PRETRAINED = Path(__file__).with_name("pretrained.pt")
"""One policy for every network; `pretrained.md` beside it says what it was trained on."""

_VOCABULARY = ("rules", "operators", "activations")
_TOO_LARGE = "it needs more memory than this process may have; give it more"


def new_policy(settings: PolicySettings, rules: RuleSet) -> Policy:
    """An untrained policy for a rule set."""
    return Policy(
        settings,
        num_operators=len(operator_names()) + 1,  # one more: unknown
        num_activations=len(activation_names()),
        rule_features=rule_features(rules),
    )


def save_policy(policy: Policy, rules: RuleSet, path: Path) -> None:
    """Writes a policy: tensors, strings and numbers, no code. Atomic."""
    record = describe_training(policy, rules) | {"weights": policy.state_dict()}
    save_whole(record, path)


def save_whole(record: dict[str, Any], path: Path) -> None:
    """Writes tensors and plain data, whole or not at all."""
    content = BytesIO()
    torch.save(record, content)  # to a full disk it would raise what says nothing of that
    write_whole(path, content.getvalue())


def load_policy(path: str | Path, rules: RuleSet) -> Policy:
    """Reads a policy, or the one that is part of the package; nothing in the file is executed.

    Operators and activations are found by name: those it was not trained with are unknown ones.

    Raises:
        ValueError: not such a file, or a policy that knows its rules by name, and they are others.
        MemoryError: it needs more than there is.
    """
    record = read_record(PRETRAINED if str(path) == "pretrained" else path)
    _check(f"agent.checkpoint={path}", record)
    if record["policy"].get("rules") == "name":
        _check_rules(f"agent.checkpoint={path}", record, rules)
    try:
        policy = new_policy(PolicySettings(**record["policy"]), rules)
        policy.load_state_dict(_by_present_names(record))
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if is_no_memory(error):
            raise MemoryError(f"agent.checkpoint={path}: {_TOO_LARGE}") from None
        raise _damaged(f"agent.checkpoint={path}", error) from None
    return policy


def describe_training(policy: Policy, rules: RuleSet) -> dict[str, Any]:
    """What a policy was trained for, and its size: what a file says beside the weights."""
    about = {"format": FORMAT, "policy": asdict(policy.settings), "rule_set": rules.name}
    names = (rules.names, operator_names(), activation_names())
    return about | {what: list(known) for what, known in zip(_VOCABULARY, names, strict=True)}


def check_resumable(path: str | Path, policy: Policy, rules: RuleSet) -> None:
    """Raises ValueError unless `path` is an unfinished training of such a policy."""
    record = _of_this_format(_read(path, "agent.resume", "resume.ckpt").get("ppo", {}))
    if record.get("format") != FORMAT:
        raise ValueError(f"agent.resume={path}: not a training; give the resume.ckpt of a run")
    _check(f"agent.resume={path}", record)
    _check_rules(f"agent.resume={path}", record, rules)
    if record["policy"] != asdict(policy.settings):
        raise ValueError(
            f"agent.resume={path} trained a policy with {record['policy']}: give the same "
            f"agent.policy options"
        )


def num_processes_of(path: str | Path) -> int:
    """How many processes an unfinished training had."""
    return 1 + len(_read(path, "agent.resume", "resume.ckpt")["ppo"].get("others", []))


def read_record(path: str | Path) -> dict[str, Any]:
    """The content of a policy's file.

    Raises:
        ValueError: not such a file.
    """
    record = _of_this_format(_read(path, "agent.checkpoint", "best.pt or last.pt"))
    if record.get("format") != FORMAT:
        raise ValueError(
            f"agent.checkpoint={path}: not a policy of this version; give the best.pt or last.pt "
            f"of a training run"
        )
    return record


def _of_this_format(record: Any) -> dict[str, Any]:
    """A record of either format as one of the present; {} for what is neither."""
    if not isinstance(record, dict):
        return {}
    if record.get("format") == _FIRST_FORMAT and isinstance(record.get("policy"), dict):
        return record | {"format": FORMAT, "policy": {"rules": "name", **record["policy"]}}
    return record


def _read(path: str | Path, option: str, expected: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise ValueError(f"{option}={path}: no such file; give a run's checkpoints/{expected}")
    try:
        with warnings.catch_warnings(action="ignore"):  # an error says it below
            record: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file ends torch's reader in any of them
        if is_no_memory(error):
            raise MemoryError(f"{option}={path}: {_TOO_LARGE}") from None
        raise ValueError(
            f"{option}={path}: not a policy's weights ({type(error).__name__}); give the "
            f"{expected} of a training run"
        ) from None
    return record if isinstance(record, dict) else {}


def _check(source: str, record: dict[str, Any]) -> None:
    """Raises ValueError unless the record says what it has to."""
    for what in ("policy", "rule_set", *_VOCABULARY):
        if what not in record:
            raise _damaged(source, KeyError(what))
    if not isinstance(record["policy"], dict):
        raise _damaged(source, TypeError("policy"))
    for what in _VOCABULARY:
        names = record[what]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _damaged(source, TypeError(what))


def _check_rules(source: str, record: dict[str, Any], rules: RuleSet) -> None:
    """Raises ValueError unless the record's rules are those present."""
    trained, present = record["rules"], list(rules.names)
    if trained == present:
        return
    details = [f"{len(trained)} rules {record['rule_set']}, not {len(present)} {rules.name}"]
    missing = [f"{name!r} is missing here" for name in trained if name not in present]
    new = [f"{name!r} is new here" for name in present if name not in trained]
    details += [*missing[:1], *new[:1]]
    if not missing and not new:
        details.append("the order differs")
    raise ValueError(
        f"{source} was trained with other rules: {'; '.join(details)}. Choose the rules it was "
        f"trained with, or train again"
    )


def _by_present_names(record: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights, with the rows of operators and activations where they are now."""
    weights = dict(record["weights"])
    for name, trained, present in (
        ("operator.weight", [*record["operators"], ""], [*operator_names(), ""]),
        ("activation.weight", record["activations"], list(activation_names())),
    ):
        row_of = {each: row for row, each in enumerate(trained)}
        unknown = row_of.get("", 0)
        weights[name] = weights[name][[row_of.get(each, unknown) for each in present]]
    return weights


def _damaged(source: str, error: Exception) -> ValueError:
    text = " ".join(str(error).split())[:200]
    return ValueError(
        f"{source}: damaged ({type(error).__name__}: {text}); give the file of another training run"
    )
