"""Shows rules, tries whether they are sound, and says why one does not apply.

  python -m xflowrl.rules list [FILE]                # the built-in rules, or those of a file
  python -m xflowrl.rules check [FILE] [--mutants]   # is each sound? would mistakes be noticed?
  python -m xflowrl.rules explain RULE graph=NAME    # where does it apply, and why not elsewhere?

graph= and rules= mean what they mean to `python -m xflowrl.run`, with their options behind them:
graph=onnx graph.path=model.onnx, rules=taso rules.path=graph_subst.pb.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

from xflowrl._engine import Rule, RuleSet
from xflowrl.rules.loading import load_core, parse_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if a rule is not sound or an argument is wrong."""
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "explain":
            return explain_rule(options.rule, options.settings)
        rules = _rules(options.source)
        if options.rule:
            rules = _select(rules, options.rule)
        if options.verb == "list":
            return list_rules(rules)
        return check_rules(
            rules,
            num_instances=options.instances,
            seed=options.seed,
            with_mutants=options.mutants,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xflowrl.rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|check|explain")
    of_rules = "rules=NAME [rules.KEY=VALUE ...]"
    for verb, text in (("list", "print the rules"), ("check", "try whether the rules are sound")):
        usage = f"{parser.prog} {verb} [FILE | {of_rules}] [--rule RULE ...]"
        if verb == "check":
            usage += " [--mutants] [--instances N] [--seed N]"
        sub = verbs.add_parser(verb, help=text, description=text, usage=usage)
        sub.add_argument(
            "source",
            nargs="*",
            help="a rule file, or an option of conf/rules; the built-in rules by default",
        )
        sub.add_argument(
            "--rule", metavar="RULE", action="append", help="only this rule; may be repeated"
        )
        if verb == "check":
            sub.add_argument(
                "--mutants",
                action="store_true",
                help="also change each rule in the ways in which rules are got wrong, and try "
                "whether the check notices",
            )
            sub.add_argument(
                "--instances", type=int, default=200, metavar="N", help="applications to compare"
            )
            sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the instances")
    text = "say where a rule applies to a graph, and why it does not elsewhere"
    usage = f"{parser.prog} explain RULE graph=NAME [graph.KEY=VALUE ...] [{of_rules}]"
    sub = verbs.add_parser("explain", help=text, description=text, usage=usage)
    sub.add_argument("rule", metavar="RULE", help="its name, as `list` prints it")
    sub.add_argument(
        "settings",
        nargs="+",
        help="options of conf/graph and conf/rules; the built-in rules by default",
    )
    return parser


def _rules(source: Sequence[str]) -> RuleSet:
    """The rules of a file or of an option; of a file also those known to be unsound."""
    if not source:
        return load_core()
    if len(source) == 1 and "=" not in source[0]:
        return parse_file(source[0])
    rules: RuleSet = _build("rules", _settings(source, ("rules",)))
    return rules


def _settings(arguments: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    """The arguments GROUP=NAME and GROUP.KEY=VALUE as a table."""
    for argument in arguments:
        if "=" not in argument or argument.partition("=")[0].partition(".")[0] not in groups:
            forms = ", ".join(f"{group}=NAME or {group}.KEY=VALUE" for group in groups)
            raise ValueError(f"{argument!r} is not understood: give {forms}")
    return dict(argument.split("=", 1) for argument in arguments)


def _build(group: str, settings: dict[str, str], default: str = "core") -> Any:
    """What the settings of a group describe, read as the main command line reads them."""
    from xflowrl.options import build_option

    options = {
        key.partition(".")[2]: _value(text)
        for key, text in settings.items()
        if key.startswith(f"{group}.")
    }
    return build_option(group, settings.get(group, default), options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _select(rules: RuleSet, names: Sequence[str]) -> RuleSet:
    for name in names:
        if name not in rules.names:
            close = difflib.get_close_matches(name, rules.names)
            advice = f"did you mean {' or '.join(close)}?" if close else "`list` prints them all"
            raise ValueError(f'rule set "{rules.name}" has no rule "{name}": {advice}')
    return rules.select(names)


def list_rules(rules: RuleSet) -> int:
    """Prints one line a rule: where it is written, and the rule; then the comments inside it."""
    from xflowrl.soundness.sexpr import comments_of, read_rule

    for rule in rules.rules:
        print(f"{rule.filename}:{rule.line}: {read_rule(rule.text).text}")
        for comment in comments_of(rule.text):
            print(f"    {comment}")
    return 0


def check_rules(
    rules: RuleSet, *, num_instances: int, seed: int, with_mutants: bool = False
) -> int:
    """Checks, prints and keeps the finding on each rule; then tries the mutants of a sound one.

    Returns 1 if a rule is not sound or a mutant survived.
    """
    from xflowrl.soundness.check import check_rule
    from xflowrl.soundness.findings import Findings

    findings, counts = Findings(), {"sound": 0, "unsound": 0, "unchecked": 0}
    num_survivors = 0
    for rule in rules.rules:
        finding = check_rule(
            rule.text,
            num_instances=num_instances,
            seed=seed,
            is_commutative=rules.commutative,
        )
        findings.put(rule.text, finding, is_commutative=rules.commutative)
        counts[finding.status] += 1
        times = f"applied {finding.num_applied} times"
        print(f"{finding.status:10}{rule.name} ({rule.filename}:{rule.line}), {times}", flush=True)
        if finding.detail:
            print("    " + finding.detail.replace("\n", "\n    "))
        if with_mutants and finding.status == "sound":
            num_survivors += _check_mutants(rule, seed=seed, is_commutative=rules.commutative)
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return int(counts["sound"] < len(rules.rules) or num_survivors > 0)


def _check_mutants(rule: Rule, *, seed: int, is_commutative: bool) -> int:
    """Prints what became of a rule's mutants; returns how many survived."""
    from xflowrl.soundness.mutant_check import Status, try_mutants

    outcomes = try_mutants(rule.text, seed=seed, is_commutative=is_commutative)
    counts = Counter(outcome.status for outcome in outcomes)
    print("    mutants: " + ", ".join(f"{counts[s]} {s}" for s in get_args(Status)), flush=True)
    for outcome in outcomes:
        if outcome.status == "survived":
            print(f"    survived: {outcome.mutant.change}")
    return counts["survived"]


def explain_rule(name: str, arguments: Sequence[str]) -> int:
    """Prints where a rule applies to the graphs described, and why it does not elsewhere."""
    from xflowrl.rules.explaining import explain
    from xflowrl.taso.open_gemms import read_by

    settings = _settings(arguments, ("graph", "rules"))
    if "graph" not in settings:
        raise ValueError("no graph is named: give graph=NAME, as for python -m xflowrl.run")
    rules = _build("rules", settings)
    rule = _select(rules, [name])
    models = _build("graph", settings)
    needed = rule.rules[0].opset
    for model in models if isinstance(models, list) else [models]:
        if model.source is not None and model.opset < needed:
            print(f"{name} needs opset {needed}; {model.name} has {model.opset}.")
            continue
        for line in explain(rule, read_by(rules, model.graph)):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
