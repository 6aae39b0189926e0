"""The dependency graph as a picture, and in words."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

import user_workflows
from tests.diagrams import NOW, a, task
from user_workflows.diagram import Diagram, diagram
from user_workflows.diagram.boxes import MOST, Box, boxes
from user_workflows.diagram.critical import critical_path
from user_workflows.diagram.layout import BLOCK, PAGE, layout
from user_workflows.diagram.svg import SIGNS, clean, clip, took
from user_workflows.graph import Barrier, dependencies, waits_for
from user_workflows.phases import Phase
from user_workflows.trees import TreeNode

SVG = "{http://www.w3.org/2000/svg}"
STYLES = Path(user_workflows.__file__).parent / "static/user_workflows/graph.css"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><a href="javascript:x">',
    "&amp;]]>",
    "\x00\x1b\ud800\ufffe",
]

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


def nested(parts: st.SearchStrategy[TreeNode], grown: bool) -> st.SearchStrategy[TreeNode]:
    several = st.lists(parts, min_size=1, max_size=4)
    plain = [
        st.builds(lambda name, members: a("chain", name, *members), names, several),
        st.builds(lambda name, members: a("group", name, *members), names, several),
        st.builds(lambda members: a("group", "empty"), st.none()),
        st.builds(
            lambda name, members, body: a("chord", name, a("group", "", *members), body),
            names,
            several,
            parts,
        ),
        st.builds(lambda many: a("group", "", *many), st.lists(leaves, min_size=BLOCK, max_size=9)),
    ]
    if grown:
        for kind in ("link", "replaced", "task"):
            build = lambda members, kind=kind: a(kind, kind, *members)  # noqa: E731
            plain.append(st.builds(build, several))
    return st.one_of(plain)


canvases = st.recursive(leaves, lambda parts: nested(parts, grown=False), max_leaves=12)
trees = st.recursive(leaves, lambda parts: nested(parts, grown=True), max_leaves=12)


def parsed(drawing: Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(str(drawing.svg))


def links(drawing: Diagram) -> list[ElementTree.Element]:
    return parsed(drawing).findall(f"{SVG}a")


def titles(drawing: Diagram) -> list[str]:
    return [str(link.findtext(f"{SVG}title")) for link in links(drawing)]


def rectangle(link: ElementTree.Element) -> tuple[float, float, float, float]:
    found = next(r for r in link.iter(f"{SVG}rect") if r.get("class") == "uw-graph-box")
    x, y, width, height = (float(found.get(name, "")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def shown(root: Box) -> list[Box]:
    return [place.box for place in layout(root).places()]


# -- what must hold of every picture ------------------------------------------------------------


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
    placed = [rectangle(link) for link in links(drawing)]
    for left, above, right, below in placed:
        assert 0 <= left < right <= width
        assert 0 <= above < below <= height
    for one, other in combinations(placed, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


@given(trees)
def test_lines_lead_from_each_task_to_what_waits_for_it(top: TreeNode) -> None:
    drawn = layout(boxes(top))
    home = {box.node: item for item in drawn.items for box in item.boxes}
    ways: nx.DiGraph[Any] = nx.DiGraph()
    ways.add_nodes_from(drawn.items)
    for line in drawn.lines:
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
    drawn = layout(boxes(top))
    place = {item: at for at, item in enumerate(drawn.items)}  # By layer, and within it.
    for one, other in combinations(drawn.lines, 2):
        if one.start.layer == other.start.layer:
            turned = place[one.start] - place[other.start], place[one.end] - place[other.end]
            assert turned[0] * turned[1] >= 0


@given(trees)
def test_no_line_leads_across_a_box(top: TreeNode) -> None:
    drawn = layout(boxes(top))
    for item in drawn.items:
        if not item.is_bend:
            continue
        at = item.x if drawn.down else item.y
        for other in drawn.items:
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


# -- boxes --------------------------------------------------------------------------------------


def many(count: int, name: str = "Letter", phase: Phase = Phase.SUCCEEDED) -> list[TreeNode]:
    return [task(f"{name} {n}", phase) for n in range(count)]


def test_nothing_is_taken_together_while_there_is_room() -> None:
    drawing = diagram(a("group", "Letters", *many(MOST)), at=NOW)
    assert len(links(drawing)) == MOST
    assert not drawing.has_collapsed


def test_a_group_that_is_too_large_is_one_box_that_says_what_is_in_it() -> None:
    members = [*many(470), *many(10, "Lost", Phase.FAILED)]
    top = a(
        "chain",
        "Mail",
        task("Prepare", Phase.SUCCEEDED),
        a("chord", "", a("group", "Letters", *members), task("Report", Phase.SKIPPED)),
    )
    drawing = diagram(top, at=NOW)
    assert titles(drawing) == [
        "Prepare: Succeeded · 5.0 s (on the critical path)",
        "Letters: 480 tasks: 10 failed, 470 succeeded (on the critical path)",
        "Report: Skipped",
    ]
    group = top.children[1].children[0]
    assert links(drawing)[1].get("href") == f"#node-{group.uuid}"
    assert [step.waits for step in drawing.steps] == [
        "waits for nothing",
        "waits for Prepare (1)",
        "waits for Letters (2)",
    ]
    assert drawing.has_collapsed
    assert "Drawn as 3 boxes" in drawing.summary


def test_few_failed_members_stay_visible_beside_the_others() -> None:
    members = [*many(300), *many(2, "Lost", Phase.FAILED), *many(300)]
    top = a("chord", "", a("group", "Letters", *members), task("Report", Phase.SKIPPED))
    drawing = diagram(top, at=NOW)
    assert [title.split(" (on")[0] for title in titles(drawing)] == [
        "Letters: 600 others: 600 succeeded",
        "Lost 0: Failed · 5.0 s",
        "Lost 1: Failed · 5.0 s",
        "Report: Skipped",
    ]
    assert drawing.steps[-1].waits == "waits for Letters (1), Lost 0 (2), Lost 1 (3)"


def test_branches_are_opened_from_the_top_down() -> None:
    chapters = [a("chain", f"Chapter {n}", *many(20)) for n in range(50)]
    root = boxes(a("chain", "Export", task("Read"), a("group", "Chapters", *chapters), task("End")))
    drawn = shown(root)
    assert len(drawn) == 52
    assert [box.node.name for box in drawn][:3] == ["Read", "Chapter 0", "Chapter 1"]
    assert [box.collapsed for box in drawn] == [False, *[True] * 50, False]


def test_branches_of_one_size_are_treated_alike() -> None:
    groups = [a("group", f"Group {n}", *many(90)) for n in range(5)]
    root = boxes(a("chain", "", a("group", "Small", *many(30)), *groups))
    drawn = shown(root)
    assert [box.collapsed for box in drawn] == [*[False] * 30, *[True] * 5]


def test_ten_thousand_tasks_make_a_small_picture() -> None:
    chapters = [a("chain", f"Chapter {n}", *many(100)) for n in range(100)]
    drawing = diagram(a("chain", "", a("group", "Chapters", *chapters), task("End")), at=NOW)
    assert len(links(drawing)) == 101
    assert len(drawing.svg) < 200_000


# -- the critical path --------------------------------------------------------------------------


def critical(top: TreeNode) -> list[str]:
    return [leaf.name for leaf in critical_path(dependencies(top), NOW)]


def test_the_critical_path_leads_through_what_took_longest() -> None:
    slow, quick = (task(name, Phase.SUCCEEDED, time) for name, time in (("slow", 60), ("quick", 1)))
    done = task("done", Phase.SUCCEEDED, 1)
    top = a("chord", "", a("group", "", a("chain", "", quick, done), slow), task("end"))
    assert critical(top) == ["slow", "end"]


def test_what_is_to_come_takes_as_long_as_its_like_took() -> None:
    known = [task(f"known {n}", Phase.SUCCEEDED, 50 + n, task_class="slow") for n in range(3)]
    ready = task("ready", Phase.SUCCEEDED, 2, task_class="quick")
    slow, quick = task("slow", task_class="slow"), task("quick", task_class="quick")
    rows = [a("chain", "", ready, quick, task("then", task_class="quick")), slow]
    top = a("chain", "", a("group", "", *known), a("chord", "", a("group", "", *rows), task("end")))
    assert critical(top)[-2:] == ["slow", "end"]


def test_what_runs_takes_at_least_as_long_as_is_usual() -> None:
    known = task("known", Phase.SUCCEEDED, 30, task_class="slow")
    begun = task("begun", Phase.RUNNING, 1, task_class="slow")
    over = task("over", Phase.SUCCEEDED, 10)
    top = a("chord", "", a("group", "", known, over, begun), task("end"))
    known.started_at = NOW - timedelta(seconds=29)
    known.settled_at = NOW
    assert critical(top) == ["known", "end"]
    begun.started_at = NOW - timedelta(seconds=31)
    assert critical(top) == ["begun", "end"]
    begun.started_at, over.started_at = NOW - timedelta(seconds=1), NOW - timedelta(seconds=28)
    known.name = "first of equal ones"
    assert critical(top) == ["first of equal ones", "end"]


def test_there_is_no_critical_path_before_anything_is_known() -> None:
    assert critical(a("chain", "", task("a"), task("b"))) == []
    assert critical(a("group", "", *many(3))) == []


def test_the_critical_path_is_marked() -> None:
    slow, quick = task("slow", Phase.SUCCEEDED, 60), task("quick", Phase.SUCCEEDED, 1)
    top = a("chord", "", a("group", "", quick, slow), task("end"))
    drawing = diagram(top, at=NOW)
    marked = [link for link in links(drawing) if "uw-graph-critical" in link.get("class", "")]
    assert [str(link.findtext(f"{SVG}title")).split(":")[0] for link in marked] == ["slow", "end"]
    assert [step.critical for step in drawing.steps] == [False, True, True]
    lines = [path.get("class", "") for path in parsed(drawing).findall(f"{SVG}path")]
    assert sum("uw-graph-line uw-graph-critical" in kind for kind in lines) == 1
    assert drawing.has_critical


def test_the_critical_path_leads_through_joints_and_branches() -> None:
    groups = [a("group", name, *many(150, name)) for name in ("Draw", "Print")]
    groups[0].children[70].started_at = NOW - timedelta(seconds=99)
    drawn = diagram(a("chain", "", *groups), at=NOW)
    assert [step.critical for step in drawn.steps] == [True, True]
    small = a("chain", "", *(a("group", "", *many(2)) for _ in range(2)))
    marked = [link.get("class", "") for link in parsed(diagram(small, at=NOW)).iter()]
    assert "uw-graph-joint uw-graph-critical" in marked


# -- shapes -------------------------------------------------------------------------------------


def test_many_wait_for_many_at_a_joint() -> None:
    top = a("chain", "", a("group", "", *many(3)), a("group", "", *many(3)))
    assert len(parsed(diagram(top, at=NOW)).findall(f"{SVG}circle")) == 1


def test_many_alike_become_a_block_with_one_line_in_and_one_out() -> None:
    top = a("chain", "", task("a"), a("group", "Letters", *many(60)), task("b"))
    drawing = diagram(top, at=NOW)
    lines = [p for p in parsed(drawing).iter() if p.get("class") == "uw-graph-line"]
    assert len(lines) == 0  # Both are on the critical path.
    assert drawing.svg.count('class="uw-graph-line uw-graph-critical"') == 2
    assert "Letters · 60 at once" in [text.text for text in parsed(drawing).iter(f"{SVG}text")]
    assert float(parsed(drawing).get("width", "")) <= PAGE


def test_it_runs_down_the_page_unless_it_is_too_wide() -> None:
    few = layout(boxes(a("group", "", *(a("chain", "", *many(2)) for _ in range(3)))))
    wide = layout(boxes(a("group", "", *(a("chain", "", *many(2)) for _ in range(20)))))
    assert few.down
    assert not wide.down
    assert wide.width <= PAGE


def test_chains_run_straight() -> None:
    rows = [a("chain", "", *many(3)), task("one"), a("chain", "", *many(2))]
    drawn = layout(boxes(a("chain", "", task("a"), a("group", "", *rows), task("b"))))
    for line in drawn.lines:
        if line.start.layer and len([x for x in drawn.lines if x.end is line.end]) == 1:
            middles = [item.x + item.width / 2 for item in (line.start, line.end)]
            assert middles[0] == pytest.approx(middles[1], abs=0.2)


def test_a_long_line_is_one() -> None:
    long = a("chain", "", *many(40))
    top = a("chord", "", a("group", "", long, *many(5, "short")), task("end"))
    paths = [path.get("class", "") for path in parsed(diagram(top, at=NOW)).findall(f"{SVG}path")]
    assert sum("uw-graph-line" in kind for kind in paths) == 39 + 1 + 5


def test_a_line_is_dashed_where_the_next_task_starts_after_a_failure_too() -> None:
    top = a("chain", "", task("try", allow_failure=True), task("must"), task("end"))
    drawing = diagram(top, at=NOW)
    kinds = [path.get("class", "") for path in parsed(drawing).iter(f"{SVG}path")]
    lines = [kind for kind in kinds if "uw-graph-line" in kind]
    assert lines == ["uw-graph-line uw-graph-may-fail", "uw-graph-line"]
    assert drawing.has_may_fail
    assert not diagram(a("chain", "", task("a"), task("b")), at=NOW).has_may_fail


def test_what_a_task_has_sent_is_joined_with_it_by_a_line_of_its_own() -> None:
    sent = a("group", "", *many(2, "Page"), allow_failure=True)
    top = a("chain", "", a("task", "Crawl", sent, phase=Phase.SUCCEEDED), task("End"))
    drawing = diagram(top, at=NOW)
    assert drawing.svg.count("uw-graph-sent") == 2
    assert drawing.has_sent
    waits = {step.name: step.waits for step in drawing.steps}
    assert waits == {
        "Crawl": "waits for nothing",
        "Page 0": "sent by Crawl (1)",
        "Page 1": "sent by Crawl (1)",
        "End": "waits for Crawl (1)",
    }


def test_each_phase_has_a_sign_a_colour_and_an_entry_in_the_legend() -> None:
    drawing = diagram(a("group", "", *(task(phase.name, phase) for phase in Phase)), at=NOW)
    assert len(set(SIGNS.values())) == len(Phase)
    for link in links(drawing):
        name = str(link.findtext(f"{SVG}title")).split(":")[0]
        signs = [p.get("d") for p in link.iter(f"{SVG}path") if p.get("class") == "uw-graph-sign"]
        assert signs == [SIGNS[Phase(name)]]
        assert f"uw-graph-{name.lower()}" in link.get("class", "").split()
    assert {sign.phase for sign in drawing.legend} == set(Phase)
    styles = STYLES.read_text(encoding="utf-8")
    assert all(f"var(--uw-{phase.value.lower()}," in styles for phase in Phase)


def test_every_class_that_is_drawn_has_a_style() -> None:
    members = [*many(300), task("lost", Phase.FAILED)]
    shapes = a(
        "chain",
        "",
        a("group", "", *members),
        a("group", "", *many(2)),
        a("group", "", *(task(phase.name, phase, total_steps=3) for phase in Phase)),
        task("end", Phase.RUNNING, total_steps=3),
    )
    html = render_to_string("user_workflows/_graph.html", {"drawing": diagram(shapes, at=NOW)})
    used = {name for names in re.findall(r'class="([^"]*)"', html) for name in names.split()}
    styles = STYLES.read_text(encoding="utf-8")
    assert {name for name in used if not re.search(rf"\.{name}\b(?!-)", styles)} == set()


# -- words --------------------------------------------------------------------------------------


def test_the_graph_in_words_names_few_and_numbers_many() -> None:
    members = many(5)
    top = a("chain", "", task("a"), a("group", "", *members), task("b"), task("<c>"))
    steps = diagram(top, at=NOW).steps
    assert [step.number for step in steps] == [*range(1, 9)]
    assert [step.waits for step in steps] == [
        "waits for nothing",
        *["waits for a (1)"] * 5,
        "waits for 2-6",
        "waits for b (7)",
    ]


def test_states_say_how_far_and_how_long() -> None:
    half = task("a", Phase.RUNNING, 75, total_steps=8, completed_steps=5)
    told = task("b", Phase.RUNNING, 75, state="Copying")
    lost = task("c", Phase.FAILED, 3, allow_failure=True)
    going = task("d", Phase.CANCELED, 3, settled_at=None)
    drawing = diagram(a("group", "", half, told, lost, going), at=NOW)
    assert titles(drawing) == [
        "a: In Progress · 5/8 · 1 min 15 s",
        "b: Copying · 1 min 15 s",
        "c: Failed (allowed) · 3.0 s",
        "d: Canceled (still running) · 3.0 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert took(seconds) == words


HEBREW = "\u05e9\u05dc\u05d5\u05dd"


def test_names_are_cut_and_told_in_full() -> None:
    name = "An introduction to the night sky as it was seen by the ancients"
    drawing = diagram(task(name), at=NOW)
    assert titles(drawing) == [f"{name}: Pending"]
    shown = [text.text for text in parsed(drawing).iter(f"{SVG}text")]
    assert str(shown[0]).endswith("…")
    assert len(str(shown[0])) < 25
    assert clip("short", 20) == "short"
    assert len(clip("漢" * 30, 12)) < len(clip("i" * 30, 12))


def test_what_xml_cannot_hold_is_replaced_and_nothing_turns_its_surroundings() -> None:
    assert clean("a\x00b\u202ec\n\td\ufffe") == "a\ufffdbc d\ufffd"
    drawing = diagram(a("chain", "", task(HEBREW), task("b")), at=NOW)
    text = next(iter(parsed(drawing).iter(f"{SVG}text")))
    assert text.get("direction") == "rtl"
    assert titles(drawing)[0] == f"\u2068{HEBREW}\u2069: Pending"
    assert drawing.steps[1].waits == f"waits for \u2068{HEBREW}\u2069 (1)"


def test_a_task_without_a_name_has_words_in_its_place() -> None:
    assert titles(diagram(task("\u202e"), at=NOW)) == ["(no name): Pending"]


# -- the template -------------------------------------------------------------------------------


def page(top: TreeNode) -> str:
    drawing = diagram(top, link="/w/", at=NOW)
    return render_to_string("user_workflows/_graph.html", {"drawing": drawing})


def test_the_template_shows_picture_legend_and_words() -> None:
    html = page(a("chain", "", task("<b>a</b>", Phase.SUCCEEDED), task("c")))
    assert html.count("&lt;b&gt;a&lt;/b&gt;") >= 3
    assert "<b>" not in html
    assert "Succeeded (1)" in html
    assert "waits for" in html
    assert html.count("on the critical path") == 4  # A title and a line of the list for each.
    for label in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html):
        assert html.count(f'id="{label}"') == 1
    for target in re.findall(r'href="#([^"]+)"', html):
        assert html.count(f'id="{target}"') == 1


def test_the_template_keeps_to_a_strict_content_security_policy() -> None:
    html = page(a("chain", "", *(task(name) for name in HOSTILE)))
    assert not re.search(r"<(script|style)|\s(style|on\w+)=", html)


def test_two_graphs_can_stand_in_one_page() -> None:
    one, other = page(task("a")), page(task("a"))
    ids = re.findall(r'\sid="([^"]+)"', one + other)
    assert len(ids) == len(set(ids)) > 2


def test_an_empty_workflow_says_so() -> None:
    assert "no tasks" in page(a("chain", "", a("group", "")))


def test_the_links_in_the_picture_are_not_hidden_from_screen_readers() -> None:
    root = parsed(diagram(task("a"), at=NOW))
    assert root.get("role") == "group"
    views = [view for view in root.iter(f"{SVG}svg") if view is not root]
    assert {view.get("aria-hidden") for view in views} == {"true"}  # The titles say it all.
