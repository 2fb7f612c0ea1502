"""Where bundles go, against a twin that looks at every way there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.control.groups.model import Group, GroupId, Layout
from manta.control.groups.packing import pack
from manta.control.model import NO_NODE, JobId, NodeId, WorkerId
from manta.control.placement import NodeView
from manta.core.strategy import IN, Term

CPU = 10_000


def node(n: int, cpus: int, free: int | None = None, **labels: str) -> NodeView:
    total = {"CPU": cpus * CPU}
    left = {"CPU": (cpus if free is None else free) * CPU}
    return NodeView(NodeId(bytes([n])), total, left, left, {}, labels)


def group(layout: Layout, *cpus: int, at: tuple[bytes, ...] = (), zones: tuple[str, ...] = ()) -> Group:
    selectors = tuple((Term(key="zone", operator=IN, values=(zone,)),) if zone else () for zone in zones)
    nodes = tuple(NodeId(each) for each in at) or (NO_NODE,) * len(cpus)
    return Group(
        GroupId(b"g" * 18), JobId(b"job1"), WorkerId(b"w"), layout, tuple({"CPU": n * CPU} for n in cpus),
        nodes=nodes, selectors=selectors,
    )  # fmt: skip


def ways(wanted: Group, nodes: list[NodeView], *, ever: bool) -> list[dict[int, NodeId]]:
    """Every way to lay the missing bundles out that keeps what the layout promises strictly."""
    found = []
    missing = wanted.missing
    for choice in itertools.product(nodes, repeat=len(missing)):
        left = {each.node_id: (each.total if ever else each.free)["CPU"] for each in nodes}
        for index, each in zip(missing, choice, strict=True):
            left[each.node_id] -= wanted.bundles[index]["CPU"]
        if min(left.values(), default=0) < 0:
            continue
        if wanted.selectors and any(
            term.values != (each.labels.get("zone"),)
            for index, each in zip(missing, choice, strict=True)
            for term in wanted.selectors[index]
        ):
            continue
        everyone = [*(at for at in wanted.nodes if at), *(each.node_id for each in choice)]
        if wanted.layout is Layout.STRICT_PACK and len(set(everyone)) > 1:
            continue
        if wanted.layout is Layout.STRICT_SPREAD and len(set(everyone)) < len(everyone):
            continue
        found.append({index: each.node_id for index, each in zip(missing, choice, strict=True)})
    return found


@st.composite
def cases(draw):
    zones = ("a", "b")
    nodes = []
    for n in range(draw(st.integers(1, 4))):
        cpus = draw(st.integers(0, 6))
        nodes.append(node(n + 1, cpus, draw(st.integers(0, cpus)), zone=draw(st.sampled_from(zones))))
    cpus = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    at = tuple(draw(st.sampled_from([b"", b"", each.node_id])) for each in nodes for _ in (0,))[: len(cpus)]
    at += (b"",) * (len(cpus) - len(at))
    picky = draw(st.booleans())
    wanted = tuple(draw(st.sampled_from(("", *zones))) for _ in cpus) if picky else ()
    return draw(st.sampled_from(Layout)), tuple(cpus), at, wanted, nodes


@given(cases())
def test_a_way_is_found_exactly_if_there_is_one_and_what_never_fits_is_called_so(case):
    layout, cpus, at, zones, nodes = case
    wanted = group(layout, *cpus, at=at if any(at) else (), zones=zones)
    if not wanted.missing:
        return
    if layout in (Layout.STRICT_PACK, Layout.STRICT_SPREAD) and any(at):
        held = [each for each in at if each]
        if (layout is Layout.STRICT_PACK and len(set(held)) > 1) or (
            layout is Layout.STRICT_SPREAD and len(set(held)) < len(held)
        ):
            return  # no such group comes to be
    now, ever = ways(wanted, nodes, ever=False), ways(wanted, nodes, ever=True)

    found = pack(wanted, nodes)

    if isinstance(found, str):
        assert not now
        assert found.startswith("infeasible") == (not ever)
    else:
        assert found in now
        here = {each for each in wanted.nodes if each}
        if layout is Layout.PACK and any(len({*way.values()}) == 1 for way in now) and not here:
            assert len(set(found.values())) == 1, "one node would have been enough"
        different = [way for way in now if len({*way.values()} | here) == len(way) + len(here)]
        if layout is Layout.SPREAD and different and len(here) == len(wanted.bundles) - len(wanted.missing):
            assert found in different, "each could have had a node of its own"


@pytest.mark.parametrize("layout", [Layout.PACK, Layout.SPREAD])
def test_the_only_way_is_found_although_the_largest_bundle_would_choose_another(layout):
    """4 on the larger node leaves no room for 3 and 3 together: such a group was called infeasible, and waited for ever."""
    assert pack(group(layout, 4, 3, 3), [node(1, 6), node(2, 4)]) == {0: b"\2", 1: b"\1", 2: b"\1"}


def test_a_group_of_many_bundles_costs_no_search():
    nodes = [node(n + 1, 3) for n in range(50)]
    assert str(pack(group(Layout.PACK, *[2] * 60), nodes)).startswith("infeasible")
