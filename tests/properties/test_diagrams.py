"""Pictures of random trees: what must hold of every one."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diagrams import HOSTILE, NOW, SVG, a, links, parsed, placed, shown, task
from user_workflows.diagram import diagram
from user_workflows.diagram.boxes import boxes
from user_workflows.diagram.critical import critical_path
from user_workflows.diagram.layers import BLOCK
from user_workflows.graph import Barrier, dependencies, waits_for
from user_workflows.phases import Phase
from user_workflows.tree.nodes import TreeNode

phases = st.sampled_from(Phase)
names = st.one_of(st.sampled_from([*HOSTILE, "\u202eevil", "שלום", "a" * 255]), st.text())
leaves = st.builds(
    task,
    names,
    phases,
    st.floats(0, 100),
    allow_failure=st.booleans(),
    task_class=st.sampled_from("xy"),
)


@st.composite
def nested(draw: st.DrawFn, *, grown: bool) -> TreeNode:
    """Trees of at most five levels, and of not many more than twenty tasks."""
    left = 20
    kinds = ["chain", "group", "chord", "chain", "group", "chord", "block", "empty", "leaf"]
    kinds += ["link", "replaced", "task"] * grown

    def part(depth: int) -> TreeNode:
        nonlocal left
        kind = draw(st.sampled_from(kinds)) if depth and left > 0 else "leaf"
        if kind == "leaf":
            left -= 1
            return draw(leaves)
        if kind == "empty":
            return a("group", "")
        if kind == "block":
            left -= BLOCK
            return a("group", draw(names), *(draw(leaves) for _ in range(BLOCK)))
        members = [part(depth - 1) for _ in range(draw(st.integers(1, 4)))]
        if kind == "chord":
            return a(kind, draw(names), a("group", "", *members), part(depth - 1))
        return a(kind, draw(names), *members)

    return part(5)


canvases = nested(grown=False)
trees = st.one_of(leaves, nested(grown=True))


def rectangle(link: ElementTree.Element) -> tuple[float, float, float, float]:
    found = next(r for r in link.iter(f"{SVG}rect") if r.get("class") == "uw-graph-box")
    x, y, width, height = (float(found.get(name, "")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


@given(trees)
def test_each_task_has_one_box_that_leads_to_its_row(top: TreeNode) -> None:
    drawing = diagram(top, link="/w/?a=1&b=2", at=NOW)
    expected = sorted(f"/w/?a=1&b=2#node-{leaf.uuid}" for leaf in top.leaves())
    assert sorted(link.get("href", "") for link in links(drawing)) == expected
    assert sorted(step.href for step in drawing.steps) == expected


@given(trees)
def test_names_and_states_are_text_whatever_is_in_them(top: TreeNode) -> None:
    for leaf in top.leaves():
        leaf.state = leaf.name
    root = parsed(diagram(top, at=NOW))
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "a", "rect", "path", "circle", "text"}
    for element in root.iter():
        assert not any(name == "style" or name.startswith("on") for name in element.attrib)
        assert element.get("href", "#").startswith("#")


@given(trees)
def test_no_two_boxes_overlap_and_all_are_in_the_picture(top: TreeNode) -> None:
    drawing = diagram(top, at=NOW)
    width, height = map(float, parsed(drawing).get("viewBox", "").split()[2:])
    found = [rectangle(link) for link in links(drawing)]
    for left, above, right, below in found:
        assert 0 <= left < right <= width
        assert 0 <= above < below <= height
    for one, other in combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


@given(trees)
def test_lines_lead_from_each_task_to_those_that_wait_for_it(top: TreeNode) -> None:
    drawn = placed(boxes(top))
    home = {box.node: item for item in drawn.layers.items for box in item.boxes}
    ways: nx.DiGraph[Any] = nx.DiGraph()
    ways.add_nodes_from(drawn.layers.items)
    for line in drawn.layers.lines:
        assert line.start in ways and line.end in ways
        assert line.end.layer == line.start.layer + 1
        if not line.sent:
            ways.add_edge(line.start, line.end)
    graph = dependencies(top)
    for leaf in graph:
        if not isinstance(leaf, Barrier):
            before = {home[n] for n in nx.ancestors(graph, leaf) if not isinstance(n, Barrier)}
            assert {item for item in nx.ancestors(ways, home[leaf]) if item.boxes} == before


@given(canvases)
def test_no_two_lines_cross(top: TreeNode) -> None:
    drawn = placed(boxes(top))
    place = {item: at for at, item in enumerate(drawn.layers.items)}  # By layer, and within it.
    for one, other in combinations(drawn.layers.lines, 2):
        if one.start.layer == other.start.layer:
            turned = place[one.start] - place[other.start], place[one.end] - place[other.end]
            assert turned[0] * turned[1] >= 0


@given(trees)
def test_no_line_leads_across_a_box(top: TreeNode) -> None:
    drawn = placed(boxes(top))
    for item in drawn.layers.items:
        if not item.is_bend:
            continue
        at = item.x if drawn.down else item.y
        for other in drawn.layers.items:
            if other.layer == item.layer and other.boxes:
                begin = other.x if drawn.down else other.y
                size = other.width if drawn.down else other.height
                assert not begin < at < begin + size


@given(trees, st.integers(1, 12))
def test_a_large_workflow_gets_no_more_boxes_and_each_task_is_in_one(
    top: TreeNode, most: int
) -> None:
    root = boxes(top, most)
    drawn = shown(root)
    assert len(drawn) <= max(most, 1)
    hidden = [leaf for box in drawn for leaf in box.hidden() if not leaf.is_container]
    assert sorted(leaf.pk for leaf in hidden) == sorted(leaf.pk for leaf in top.leaves())
    assert sum(box.tasks for box in drawn) == top.counts.total()
    for box in drawn:
        assert box.counts.total() == sum(not node.is_container for node in box.hidden())


@given(trees)
def test_no_path_takes_longer_than_the_critical_one(top: TreeNode) -> None:
    for leaf in top.leaves():  # So that nothing has to be guessed.
        leaf.started_at = leaf.started_at or NOW
        leaf.settled_at = NOW
    graph = dependencies(top)
    found = critical_path(graph, NOW)

    def length(path: list[Any]) -> float:
        return sum(node.duration(NOW) for node in path if not isinstance(node, Barrier))

    first = [node for node in graph if not graph.pred[node]]
    last = [node for node in graph if not graph.succ[node]]
    ways = [way for one in first for way in nx.all_simple_paths(graph, one, last)]
    ways += [[node] for node in first if not graph.succ[node]]
    longest = max(map(length, ways), default=0.0)
    if found:
        assert length(found) == pytest.approx(longest)
        for before, after in pairwise(found):
            assert before in waits_for(graph, after)
    else:
        assert longest == max((length([node]) for node in first + last), default=0.0)
