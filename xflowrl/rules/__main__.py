"""`python -m xflowrl.rules list|check [FILE]`: shows rules, or tries whether they are sound."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from xflowrl._engine import RuleSet
from xflowrl.rules.loading import load_core, parse_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if a rule is not sound or the file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m xflowrl.rules", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (("list", "print the rules"), ("check", "try whether the rules are sound")):
        sub = verbs.add_parser(verb, help=text, description=text)
        sub.add_argument("path", nargs="?", help="a rule file; the built-in rules by default")
        sub.add_argument("--taso", metavar="FILE", help="TASO's rules, from your graph_subst.pb")
        sub.add_argument("--faithful", action="store_true", help="with --taso: as TASO has them")
        sub.add_argument("--rule", action="append", help="only this rule; may be repeated")
        if verb == "check":
            sub.add_argument("--instances", type=int, default=200, help="applications to compare")
            sub.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        rules, reasons = _load(options)
        if options.rule:
            rules = rules.select(options.rule)
        if options.verb == "list":
            return list_rules(rules, reasons)
        return check_rules(rules, num_instances=options.instances, seed=options.seed)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _load(options: argparse.Namespace) -> tuple[RuleSet, dict[str, str]]:
    """The rules asked for, and by name why some of TASO's are not as TASO has them."""
    if options.path and options.taso:
        raise ValueError("give a rule file or --taso FILE, not both")
    if options.faithful and not options.taso:
        raise ValueError("--faithful goes with --taso FILE")
    if not options.taso:
        return (parse_file(options.path) if options.path else load_core()), {}
    from xflowrl.taso.rules import load_taso, remedies

    rules = load_taso(options.taso, options.faithful)
    verb = "unsound" if options.faithful else "remedied"
    reasons = {name: f"{verb}: {r.reason}" for name, r in remedies(options.taso).items()}
    return rules, reasons


def list_rules(rules: RuleSet, reasons: Mapping[str, str] = MappingProxyType({})) -> int:
    """Prints one line a rule: where it is written, and the rule; then a reason, if it has one."""
    from xflowrl.soundness.sexpr import read_rule

    for rule in rules.rules:
        print(f"{rule.filename}:{rule.line}: {read_rule(rule.text).text}")
        if rule.name in reasons:
            print(f"    {reasons[rule.name]}")
    return 0


def check_rules(rules: RuleSet, *, num_instances: int, seed: int) -> int:
    """Checks, prints and keeps the finding on each rule. Returns 1 if one is not sound."""
    from xflowrl.soundness.check import check_rule
    from xflowrl.soundness.findings import Findings

    findings, counts = Findings(), {"sound": 0, "unsound": 0, "unchecked": 0}
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
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return int(counts["sound"] < len(rules.rules))


if __name__ == "__main__":
    sys.exit(main())
