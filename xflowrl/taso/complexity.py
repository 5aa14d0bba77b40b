"""`python -m xflowrl.taso.complexity graph=... rules=...`: in how many places do rules apply?

Counted three ways. *valid*: every place where a rule applies. *distinct*: structurally different
graphs among the results, the graph itself not counted. *TASO*: different values of TASO's graph
hash among the results, in which places of equal shapes collapse; the figures published about TASO
are of this kind. A result counts for the first rule, in order of the ids, that leads to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xflowrl._engine import CostTable, Graph, RuleSet, State
from xflowrl.taso.open_gemms import read_by

if TYPE_CHECKING:
    from xflowrl.cli.jobs import Job

SCHEMA = 1
_WAYS = ("taso", "valid", "distinct")


@dataclass(frozen=True)
class Counts:
    """How many places one rule, or all rules together, have in a graph.

    Attributes:
        taso: told apart by TASO's hash.
        valid: all of them.
        distinct: told apart by structure.
    """

    taso: int
    valid: int
    distinct: int


@dataclass(frozen=True)
class Complexity:
    """The places of a set of rules in a graph.

    Attributes:
        graph: its name.
        rules: the set's name.
        is_faithful: rules as TASO has them, unsound ones included.
        places: by the rule's index in the set, which for TASO's rules is TASO's id; rules without a
            place are left out.
        names: of the same rules.
    """

    graph: str
    rules: str
    is_faithful: bool
    places: dict[int, Counts]
    names: dict[int, str]

    @property
    def num_rules(self) -> Counts:
        """How many rules apply at all."""
        return self._total(lambda count: int(count > 0))

    @property
    def num_places(self) -> Counts:
        """How many places there are in all."""
        return self._total(lambda count: count)

    def _total(self, measure: Any) -> Counts:
        return Counts(
            **{way: sum(measure(getattr(p, way)) for p in self.places.values()) for way in _WAYS}
        )


def count_places(graph: Graph, rules: RuleSet) -> Complexity:
    """Counts; deterministic, in time proportional to the number of places.

    A Gemm is counted as TASO does under TASO's rules: as a product and an addition.
    """
    graph = read_by(rules, graph)
    state = State(graph, rules, CostTable.roofline(1.0, 1.0, 0.0), taso_hash=True)
    counts: dict[str, Counter[int]] = {way: Counter() for way in _WAYS}
    hashes, structures = {state.taso_hash}, {state.graph.merkle_hash}
    for match in state.matches():
        counts["valid"][match.rule_index] += 1
        if match.taso_hash not in hashes:
            hashes.add(match.taso_hash)
            counts["taso"][match.rule_index] += 1
        structure = match.graph.merkle_hash
        if structure not in structures:
            structures.add(structure)
            counts["distinct"][match.rule_index] += 1
    applicable = sorted(counts["valid"])
    return Complexity(
        graph=graph.name,
        rules=rules.name,
        is_faithful=rules.faithful,
        places={i: Counts(**{way: counts[way][i] for way in _WAYS}) for i in applicable},
        names={i: rules.rules[i].name for i in applicable},
    )


def table(complexity: Complexity) -> str:
    """Lines to print: a rule each, then the two totals."""
    name_width = max((len(name) for name in complexity.names.values()), default=0)
    totals = (
        ("Total number of available substitutions", complexity.num_rules),
        ("Total available locations for graph substitutions", complexity.num_places),
    )
    width = max(name_width + 6, *(len(text) for text, _ in totals))
    faithful = ", as TASO has them" if complexity.is_faithful else ""
    lines = [
        f"{complexity.graph}, rules {complexity.rules}{faithful}",
        f"{'id'.rjust(4)}  {'rule'.ljust(width - 6)}  {'TASO':>8} {'valid':>8} {'distinct':>8}",
    ]
    for index, places in complexity.places.items():
        lines.append(_row(f"{index:4}  {complexity.names[index]}", places, width))
    return "\n".join([*lines, *(_row(text, places, width) for text, places in totals)])


def _row(text: str, places: Counts, width: int) -> str:
    return f"{text.ljust(width)}  {places.taso:8} {places.valid:8} {places.distinct:8}"


def record(complexities: Sequence[Complexity]) -> dict[str, Any]:
    """The content of `complexity.json`."""
    return {
        "schema": SCHEMA,
        "graphs": [
            {
                "graph": one.graph,
                "rules": one.rules,
                "faithful": one.is_faithful,
                "places": [
                    {"id": index, "name": one.names[index], **asdict(places)}
                    for index, places in one.places.items()
                ],
                "num_substitutions": asdict(one.num_rules),
                "num_locations": asdict(one.num_places),
            }
            for one in complexities
        ],
    }


def count(job: Job) -> None:
    """The task of this verb: prints a table a graph, and writes `complexity.json`."""
    from xflowrl.run_folder import write_json

    rules = job.rules()
    complexities = []
    for model in job.models():
        complexities.append(count_places(model.graph, rules))
        print(table(complexities[-1]), end="\n\n", flush=True)
    write_json(job.folder / "complexity.json", record(complexities))


if __name__ == "__main__":
    # By its full name, so that there is one copy of this module, and jobs can be pickled.
    from xflowrl.cli.jobs import main
    from xflowrl.taso import complexity

    main(complexity.count)
