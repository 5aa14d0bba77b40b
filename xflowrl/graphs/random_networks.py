"""Random networks of any size: the study's open question, how searches scale, needs many graphs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xflowrl.graphs.layers import LayerBuilder, require_positive
from xflowrl.graphs.random_cells import FAMILIES, Draw, Style
from xflowrl.graphs.traps import FIRST_TRAPS, TRAPS, trap_cell
from xflowrl.onnx_io import Model

_STEM_NODES, _HEAD_NODES = 3, 3
_ATTEMPTS = 6  # cells drawn for what is left of a stage before plain layers fill it
_GROUP = 8  # cells in a residual group
_GROUP_NODES = 16  # a group is not begun for less
_USUAL_GROUP_NODES = 80  # of eight cells, about


def random_network(
    *,
    num_nodes: int = 200,
    trap: float = 0.0,
    families: dict[str, float] | None = None,
    traps: dict[str, float] | None = None,
    fan_out: float = 0.3,
    max_branches: int = 4,
    max_depth: int = 3,
    channels: int = 32,
    width_mix: float = 0.5,
    num_stages: int = 3,
    batch_size: int = 1,
    image_size: int = 32,
    num_labels: int = 10,
    name: str = "random",
    seed: int = 0,
) -> Model:
    """A drawn image classifier, [N, 3, S, S] to [N, num_labels], of exactly `num_nodes` operators.

    A stem, `num_stages` stages of cells between which the image is halved, a linear classifier. The
    same options and seed give the same network in every process.

    Args:
        num_nodes: operators in the graph, 50 to 20,000 or more.
        trap: share of cells that are traps for a greedy search, see `graphs.traps`, from 0 to 1.
            Where no trap fits the image, or what is left of a stage, the cell is an ordinary one.
        families: relative share of each family of cells: plain, dag, inception, residual,
            depthwise, attention, recurrent; families not named have none. None: equal shares.
        traps: relative share of each kind of trap, see `graphs.traps`. None: siblings and
            chain, equal shares.
        fan_out: probability that a cell also reads an earlier cell of its residual group of eight,
            added to its input.
        max_branches: side by side in one cell, at least 2.
        max_depth: layers in a row in one branch.
        channels: the usual width, rounded up to a multiple of eight.
        width_mix: probability that a layer draws a width of its own, half to twice the usual one.
        name: the graph's name.
        seed: of the structure and of the weights.
    """
    require_positive(
        max_depth=max_depth, channels=channels, num_stages=num_stages, num_labels=num_labels
    )
    shares = _checked_shares("family", families, FAMILIES, FAMILIES)
    trap_shares = _checked_shares("trap", traps, TRAPS, FIRST_TRAPS)
    for option, value in (("trap", trap), ("fan_out", fan_out), ("width_mix", width_mix)):
        if not 0 <= value <= 1:
            raise ValueError(f"random: {option} is {value}; give a probability from 0 to 1")
    if max_branches < 2:
        raise ValueError(f"random: max_branches is {max_branches}; give at least 2")
    smallest = _STEM_NODES + _HEAD_NODES + 2 * num_stages
    if num_nodes < smallest:
        raise ValueError(f"random: num_nodes is {num_nodes}; give at least {smallest}")
    if image_size % 2 ** (num_stages - 1) or image_size < 2**num_stages:
        raise ValueError(
            f"random: image_size is {image_size}; {num_stages} stages need a multiple of "
            f"{2 ** (num_stages - 1)} of at least {2**num_stages}"
        )
    style = Style(-(-channels // 8) * 8, width_mix, max_branches, max_depth)
    mix = _Mix(style, shares, trap_shares, trap, fan_out)
    draw = Draw(seed)
    net = LayerBuilder(name)
    x = net.image_input(batch_size, image_size)
    x = net.conv_bn_relu(x, "stem", style.channels, 3)
    left = num_nodes - _STEM_NODES - _HEAD_NODES - (num_stages - 1)
    for stage in range(num_stages):
        if stage > 0:
            x = net.max_pool(x, f"stage{stage}/pool", 2, stride=2)
        budget = left // (num_stages - stage)
        left -= budget
        x = _stage(net, x, f"stage{stage}", draw, mix, budget)
    x = net.node("GlobalAveragePool", [x], "classifier/pool")
    x = net.flatten(x, "classifier/flatten")
    return net.model({"logits": net.dense(x, "classifier/dense", num_labels)}, seed=seed)


@dataclass(frozen=True)
class _Mix:
    """What the cells of one network are drawn from."""

    style: Style
    families: dict[str, float]
    traps: dict[str, float]
    trap: float
    fan_out: float


def _stage(net: LayerBuilder, x: str, name: str, draw: Draw, mix: _Mix, num_nodes: int) -> str:
    """Cells of exactly `num_nodes` operators in all.

    Groups of cells are residual and begin with a normalisation, as in pre-norm transformers.
    Without it a change in a deep network dies out before it reaches the output, or explodes.
    """
    group, outputs = x, [x]
    num_groups = num_nodes // _USUAL_GROUP_NODES
    # The more groups, the less each adds, or rounding grows from one to the next: two equal
    # networks of a hundred groups would not compute the same in float32.
    scale = 4 / num_groups if num_groups > 8 else None
    num_cells = num_failures = 0
    while num_nodes > 0 and num_failures < _ATTEMPTS:
        if len(outputs) > _GROUP and num_nodes > _GROUP_NODES:
            group_name = f"{name}/group{num_cells // _GROUP}"
            counted = _CountingBuilder.of(net, [outputs[-1], group])
            _end_of_group(counted, counted.inputs[0], counted.inputs[1], group_name, scale)
            group, normalised = _end_of_group(net, outputs[-1], group, group_name, scale)
            outputs = [normalised]
            num_nodes -= counted.num_nodes
        sources = [outputs[-1]]
        if len(outputs) > 1 and draw.chance(mix.fan_out):
            sources.append(draw.choice(outputs[:-1]))
        family = "trap" if draw.chance(mix.trap) else draw.weighted(mix.families)
        seed = draw.seed()
        size = _num_nodes(net, sources, family, seed, mix)
        if size is None:
            family = draw.weighted(mix.families)
            size = _num_nodes(net, sources, family, seed, mix)
        if size is None or size > num_nodes:
            num_failures += 1
            continue
        y = _cell(net, sources, f"{name}/cell{num_cells}", family, seed, mix)
        assert y is not None
        outputs.append(y)
        num_cells += 1
        num_nodes -= size
    return _filled(net, outputs[-1], f"{name}/rest", mix.style, num_nodes)


def _cell(
    net: LayerBuilder, sources: list[str], name: str, family: str, seed: int, mix: _Mix
) -> str | None:
    """One cell over the sum of one or two images; None if a trap does not fit."""
    x = sources[0] if len(sources) == 1 else _joined(net, sources, name)
    if family == "trap":
        return trap_cell(net, x, name, Draw(seed), mix.style, mix.traps)
    return FAMILIES[family](net, x, name, Draw(seed), mix.style)


def _joined(net: LayerBuilder, sources: list[str], name: str) -> str:
    """The sum of an image and an earlier one, which is projected to its channels if need be."""
    x, y = sources
    if net.shape(y) != net.shape(x):
        y = net.conv_bn(y, f"{name}/from_earlier", net.shape(x)[1], 1)
    return net.add(x, y, f"{name}/with_earlier")


def _end_of_group(
    net: LayerBuilder, x: str, group: str, name: str, scale: float | None
) -> tuple[str, str]:
    """What a group ends in, `x`, times `scale`, plus what it began with: as it is, normalised."""
    if scale is not None:
        x = net.node("Mul", [x, net.scalar(f"{name}/factor", scale)], f"{name}/scaled")
    y = _joined(net, [x, group], name)
    channels = [net.shape(y)[1]]
    weights = [net.weight(f"{name}/norm/{role}", channels) for role in ("scale", "bias")]
    return y, net.node("InstanceNormalization", [y, *weights], f"{name}/norm", epsilon=1e-5)


class _CountingBuilder(LayerBuilder):
    """Counts the nodes of a cell before it is made in earnest."""

    def __init__(self) -> None:
        super().__init__("count")
        self.num_nodes = 0
        self.inputs: list[str] = []

    @staticmethod
    def of(net: LayerBuilder, sources: list[str]) -> _CountingBuilder:
        """A builder whose inputs have the shapes of tensors of `net`."""
        counter = _CountingBuilder()
        counter.inputs = [
            counter.input(f"x{index}", net.shape(x)) for index, x in enumerate(sources)
        ]
        return counter

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.num_nodes += 1
        return super().node(op_type, inputs, name, **attributes)


def _num_nodes(
    net: LayerBuilder, sources: list[str], family: str, seed: int, mix: _Mix
) -> int | None:
    counter = _CountingBuilder.of(net, sources)
    y = _cell(counter, counter.inputs, "cell", family, seed, mix)
    return None if y is None else counter.num_nodes


def _filled(net: LayerBuilder, x: str, name: str, style: Style, num_nodes: int) -> str:
    """Plain layers of so many operators in all."""
    index = 0
    while num_nodes > 0:
        layer_name = f"{name}{index}"
        if num_nodes >= 3:
            x = net.conv_bn_relu(x, layer_name, style.channels, 1)
        elif num_nodes == 2:
            x = net.conv(x, f"{layer_name}/conv", style.channels, 1)
            x = net.relu(x, f"{layer_name}/relu")
        else:
            x = net.conv(x, f"{layer_name}/conv", style.channels, 1)
        num_nodes -= 3
        index += 1
    return x


def _checked_shares(
    what: str, given: dict[str, float] | None, known: Collection[str], default: Collection[str]
) -> dict[str, float]:
    """The share of each of `known`, 0 where it is not given; equal for `default` if none is."""
    shares: Mapping[str, float] = dict.fromkeys(default, 1.0) if given is None else given
    for name, share in shares.items():
        if name not in known:
            raise ValueError(f"random: {what} {name!r} is unknown; give some of {', '.join(known)}")
        if share < 0:
            raise ValueError(f"random: the share of {name} is {share}; give a number >= 0")
    if sum(shares.values()) <= 0:
        raise ValueError(f"random: no {what} has a share; give at least one a number > 0")
    return {name: float(shares.get(name, 0.0)) for name in known}
