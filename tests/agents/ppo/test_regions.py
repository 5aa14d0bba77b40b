"""Cutting episodes into regions, and putting the best of these together."""

from __future__ import annotations

from itertools import combinations
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xflowrl._engine import Place
from xflowrl.agents.ppo.regions import Mosaic, Region, Rewrite, regions

ORIGINAL = 10  # nodes


def rewrite(saved_ms: float, *nodes: int) -> Rewrite:
    return Rewrite(cast(Place, None), nodes, saved_ms)


def test_rewrites_that_share_a_node_are_one_region() -> None:
    first, second, third = rewrite(1.0, 0, 1, 10), rewrite(2.0, 5, 11), rewrite(3.0, 10, 3, 12)
    found = regions([first, second, third], ORIGINAL)
    assert [(region.nodes, region.rewrites) for region in found] == [
        ({0, 1, 3}, (first, third)),
        ({5}, (second,)),
    ]
    assert [region.saved_ms for region in found] == [4.0, 2.0]


def test_a_region_ends_where_it_has_saved_most() -> None:
    steps = [rewrite(saved, 0, 10 + i) for i, saved in enumerate([-1.0, 3.0, -1.0, 0.5])]
    lost = rewrite(-2.0, 7)
    (region,) = regions([*steps, lost], ORIGINAL)
    assert region.rewrites == tuple(steps[:2])


def test_the_better_is_kept_in_each_place() -> None:
    mosaic = Mosaic()
    a, b = Region(frozenset({0}), (rewrite(1.0, 0),)), Region(frozenset({5}), (rewrite(4.0, 5),))
    assert mosaic.add([a, b]) == 5.0
    better, worse = (
        Region(frozenset({0, 1}), (rewrite(2.0, 0, 1),)),
        Region(frozenset({5, 6}), (rewrite(3.0, 5, 6),)),
    )
    assert mosaic.add([better, worse]) == 1.0
    assert mosaic.regions == [better, b]
    wide = Region(frozenset({1, 5}), (rewrite(5.5, 1, 5),))
    assert mosaic.add([wide]) == 0.0, "it would be in the place of both"
    assert mosaic.regions == [better, b]


episodes = st.lists(
    st.lists(
        st.builds(
            lambda nodes, saved: rewrite(float(saved), *nodes),
            st.sets(st.integers(0, ORIGINAL + 4), min_size=1, max_size=3),
            st.integers(-3, 5),
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=4,
)


@given(episodes)
def test_a_mosaic_overlaps_nowhere_and_is_at_least_as_good_as_each_episode(
    walks: list[list[Rewrite]],
) -> None:
    mosaic, total_ms = Mosaic(), 0.0
    for walk in walks:
        walk = [rewrite(r.saved_ms, *(r.nodes if min(r.nodes) < ORIGINAL else (0,))) for r in walk]
        cut = regions(walk, ORIGINAL)
        total_ms += mosaic.add(cut)
        there = sum(region.saved_ms for region in mosaic.regions)
        assert there == pytest.approx(total_ms)
        ends = [sum(r.saved_ms for r in walk[:end]) for end in range(len(walk) + 1)]
        assert there >= sum(region.saved_ms for region in cut) >= max(ends)
        for one, other in combinations(mosaic.regions, 2):
            assert not one.nodes & other.nodes
