"""The graph before and after, and every rewrite between them, to be drawn by `page/graph.js`.

The original is laid out in layers; a rewrite's new nodes take the places of those they replace. So
nothing else moves, and what stands at the same height on both sides is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import igraph

from xflowrl._engine import Graph, Node
from xflowrl.measurement import roofline
from xflowrl.options import build, make_problems, read_config
from xflowrl.problem import Problem, Step
from xflowrl.replaying import states
from xflowrl.report.entries import Entry

# A slider has at most so many places; in longer traces each is of several rewrites.
_MAX_STATES = 200
_WIDTH, _LAYER = 130, 62  # of a column and of a layer, pixels
_NODE = (116, 34)  # of a node's box
_NEVER = -1


@dataclass
class _Drawn:
    """A node: where it is, and from which state on to before which it is there."""

    label: str
    text: str
    x: float
    y: float
    born: int
    died: int = _NEVER


@dataclass
class _Film:
    """All states in one: every node and edge with the states that it is there in."""

    nodes: dict[str, _Drawn] = field(default_factory=dict)
    edges: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)


def graph_view(entry: Entry) -> dict[str, Any]:
    """What the page needs to show one entry; plain data.

    Raises:
        ValueError: the original cannot be built here, or the trace is of another one.
        OSError: its file cannot be read.
    """
    problem = _problem(entry)
    trace = entry.run.traces[entry.record.graph]
    if problem.model.graph.hash != trace.graph_hash:
        raise ValueError("the graph is not the one that the trace was recorded on")
    stride = max(1, math.ceil(len(trace.steps) / _MAX_STATES))
    film, said = _Film(), list[dict[str, Any]]()
    for index, state in enumerate(states(problem, trace.steps)):
        place = math.ceil(index / stride)
        _add_state(film, state.graph, place)
        if index % stride == 0 or index == len(trace.steps):
            said.append(_caption(index, trace.steps[max(0, place - 1) * stride : index], entry))
    names = {name: number for number, name in enumerate(film.nodes)}
    return {
        "title": f"{entry.problem}, {entry.label}",
        "run": entry.run.name,
        "node_size": _NODE,
        "states": said,
        "nodes": [
            [d.label, d.text, round(d.x), round(d.y), d.born, d.died] for d in film.nodes.values()
        ],
        "edges": [
            [names[source], names[reader], *life]
            for (source, reader), lives in film.edges.items()
            for life in lives
            if life[0] != life[1]
        ],
    }


def _problem(entry: Entry) -> Problem:
    config = read_config(entry.run.folder)
    built, rules = build(config["graph"]), build(config["rules"])
    models = list(built) if isinstance(built, list | tuple) else [built]
    # Prices are not asked for: those of any objective do.
    problems = make_problems(
        models, rules, roofline(), build(config["budget"]), seed=config["seed"]
    )
    for problem in problems:
        if problem.name == entry.record.graph:
            return problem
    raise ValueError(f"its configuration gives no graph {entry.record.graph!r} any more")


def _caption(index: int, steps: Sequence[Step], entry: Entry) -> dict[str, Any]:
    cost_ms = steps[-1].cost_ms if steps else entry.record.cost_initial_ms
    return {
        "index": index,
        "rules": list(dict.fromkeys(step.rule for step in steps)),
        "cost_ms": cost_ms if cost_ms is not None and math.isfinite(cost_ms) else None,
    }


def _add_state(film: _Film, graph: Graph, index: int) -> None:
    """Adds a state: what is new is born, what is gone died."""
    nodes, edges = _seen(graph)
    alive = {name for name, drawn in film.nodes.items() if drawn.died == _NEVER}
    new = {name: nodes[name] for name in nodes if name not in alive}
    gone = [film.nodes[name] for name in alive if name not in nodes]
    if index == 0:
        places = _layered(list(nodes), edges)
    else:
        taken = [film.nodes[name] for name in alive & nodes.keys()]
        places = _in_place_of(gone, list(new), edges, taken, film)
    for name, node in new.items():
        label, text = _words(name, node)
        film.nodes[name] = _Drawn(label, text, *places[name], born=index)
    for drawn in gone:
        drawn.died = index
    for edge, lives in film.edges.items():
        if lives[-1][1] == _NEVER and edge not in edges:
            lives[-1][1] = index
    for edge in edges:
        lives = film.edges.setdefault(edge, [])
        if not lives or lives[-1][1] != _NEVER:
            lives.append([index, _NEVER])


def _seen(graph: Graph) -> tuple[dict[str, Node | str], dict[tuple[str, str], None]]:
    """The nodes by a key, and the edges; inputs and outputs are names, constants are not drawn.

    A rewrite hands names on, and slots are used again: a key has all that tells a node from the one
    that it replaces.
    """
    nodes: dict[str, Node | str] = {f"input {name}": name for name in graph.inputs}
    source = {name: f"input {name}" for name in graph.inputs}
    edges: dict[tuple[str, str], None] = {}
    for node in graph.nodes():
        if node.is_constant:
            continue
        inputs, outputs = node.inputs, node.outputs
        name = " ".join([outputs[0], str(node.id), node.op_type, *inputs])
        nodes[name] = node
        edges |= {(source[read], name): None for read in inputs if read in source}
        source |= dict.fromkeys(outputs, name)
    for name, tensor in zip(graph.outputs, graph.output_tensors, strict=True):
        if tensor in source:
            nodes[f"output {name}"] = name
            edges[source[tensor], f"output {name}"] = None
    return nodes, edges


def _words(name: str, node: Node | str) -> tuple[str, str]:
    """What stands in a node's box, and what is said when one points at it."""
    if isinstance(node, str):
        return name.partition(" ")[0], node
    return _label(node), _text(node)


def _label(node: Node) -> str:
    kernel = node.attributes.get("kernel_shape") or _kernel_of(node)
    size = " " + "x".join(map(str, kernel)) if kernel else ""
    activation = node.attributes.get("activation")
    return f"{node.op_type}{size}" + (f" + {activation}" if activation else "")


def _kernel_of(node: Node) -> Sequence[int]:
    weight = node.input_types[1] if node.op_type == "Conv" and len(node.inputs) > 1 else None
    return weight.shape[2:] if weight is not None else ()


def _text(node: Node) -> str:
    """Name, types, and the attributes that say something."""
    said = [f"{k}={v}" for k, v in node.attributes.items() if v not in ("", [], None, b"")]
    operands = ", ".join(str(kind) for kind in node.input_types if kind is not None)
    results = ", ".join(map(str, node.output_types))
    return "\n".join([node.outputs[0], f"{operands} → {results}", *map(_cut, said)])


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"


def _layered(
    names: Sequence[str], edges: Iterable[tuple[str, str]]
) -> dict[str, tuple[float, float]]:
    """Places in layers, by the method of Sugiyama: each node below all that it reads.

    Args:
        names: in topological order but for inputs and outputs, which edges alone place.
    """
    number = {name: index for index, name in enumerate(names)}
    pairs = [(number[source], number[reader]) for source, reader in edges]
    network = igraph.Graph(len(names), pairs, directed=True)
    layers = [0] * len(names)
    for vertex in network.topological_sorting():
        for reader in network.successors(vertex):
            layers[reader] = max(layers[reader], layers[vertex] + 1)
    places = network.layout_sugiyama(layers=layers, hgap=1, vgap=1, maxiter=200)
    columns = [places[index][0] for index in range(len(names))]
    rightmost: dict[int, float] = {}
    for index in sorted(range(len(names)), key=columns.__getitem__):  # it lets some overlap
        columns[index] = max(columns[index], rightmost.get(layers[index], -math.inf) + 1)
        rightmost[layers[index]] = columns[index]
    return {name: (_WIDTH * columns[i], _LAYER * float(layers[i])) for name, i in number.items()}


def _in_place_of(
    gone: Sequence[_Drawn],
    new: Sequence[str],
    edges: Mapping[tuple[str, str], None],
    taken: Sequence[_Drawn],
    film: _Film,
) -> dict[str, tuple[float, float]]:
    """Places of new nodes: from the top of those that are gone to their foot, one below another."""
    around = gone or [film.nodes[a] for a, b in edges if b in new and a in film.nodes] or taken
    xs, ys = [d.x for d in around], [d.y for d in around]
    depths = _depths(new, edges)
    deepest = max(depths.values(), default=0)
    spread = max(max(ys) - min(ys), deepest * (_NODE[1] + 6))
    places: dict[str, tuple[float, float]] = {}
    for depth in range(deepest + 1):
        row = [name for name in new if depths[name] == depth]
        y = min(ys) + (spread * depth / deepest if deepest else (max(ys) - min(ys)) / 2)
        middle = (min(xs) + max(xs)) / 2
        for index, name in enumerate(row):
            x = middle + (index - (len(row) - 1) / 2) * _WIDTH
            others = [(d.x, d.y) for d in taken] + [*places.values()]
            while any(abs(x - a) < _NODE[0] and abs(y - b) < _NODE[1] for a, b in others):
                x += _WIDTH / 2
            places[name] = (x, y)
    return places


def _depths(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How many of these nodes lie above each, one over another; they come in topological order."""
    depths = dict.fromkeys(names, 0)
    above: dict[str, list[str]] = {}
    for source, reader in edges:
        if source in depths and reader in depths:
            above.setdefault(reader, []).append(source)
    for name in names:
        depths[name] = max((depths[other] + 1 for other in above.get(name, ())), default=0)
    return depths
