"""The dependency graph as a picture, and in words."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.template.loader import render_to_string

import user_workflows
from tests.diagrams import HOSTILE, NOW, SVG, a, links, parsed, placed, shown, task, titles
from tests.helpers import queries, stored
from user_workflows.diagram import diagram
from user_workflows.diagram.boxes import MAX_BOXES, boxes
from user_workflows.diagram.critical import critical_path
from user_workflows.diagram.layout import PAGE
from user_workflows.diagram.svg import SIGNS
from user_workflows.diagram.text import clean, clip
from user_workflows.graph import dependencies
from user_workflows.phases import Phase
from user_workflows.reports.formatting import format_duration
from user_workflows.testing import container, leaf
from user_workflows.tree.nodes import TreeNode

STYLES = Path(user_workflows.__file__).parent / "static/user_workflows/graph.css"
# -- of a tree as it is stored --------------------------------------------------------------------


@pytest.mark.django_db
def test_a_workflow_that_failed_half_way_is_drawn_from_one_query() -> None:
    chord = container("chord", container("group", leaf("b"), leaf("c")), leaf("d"), name="chord")
    nodes = stored(container("chain", leaf("a"), chord, leaf("e"), name="root"))
    for name in ("a", "b", "c"):
        nodes[name].start()
    nodes["a"].succeed()
    nodes["c"].fail("No.")
    with queries(1):
        drawing = diagram(nodes["root"].tree())
    states = {step.name: step.phase for step in drawing.steps}
    assert states == {
        "a": Phase.SUCCEEDED,
        "b": Phase.RUNNING,
        "c": Phase.FAILED,
        "d": Phase.SKIPPED,
        "e": Phase.SKIPPED,
    }
    assert [step.waits for step in drawing.steps] == [
        "waits for nothing",
        "waits for a (1)",
        "waits for a (1)",
        "waits for b (2), c (3)",
        "waits for d (4)",
    ]


# -- boxes --------------------------------------------------------------------------------------


def many(count: int, name: str = "Letter", phase: Phase = Phase.SUCCEEDED) -> list[TreeNode]:
    return [task(f"{name} {n}", phase) for n in range(count)]


def test_a_workflow_of_no_more_than_the_limit_is_drawn_task_by_task() -> None:
    drawing = diagram(a("group", "Letters", *many(MAX_BOXES)), at=NOW)
    assert len(links(drawing)) == MAX_BOXES
    assert not drawing.has_collapsed


def test_a_group_that_is_too_large_becomes_one_box_with_its_counts() -> None:
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


def test_few_failed_members_of_a_collapsed_group_keep_their_boxes() -> None:
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


def test_failed_members_keep_their_boxes_only_within_the_limit() -> None:
    groups = [
        a("group", f"Group {n}", *many(300), *many(5, "Lost", Phase.FAILED)) for n in range(60)
    ]
    drawn = shown(boxes(a("chain", "", *groups)))
    assert 190 < len(drawn) <= MAX_BOXES


def test_branches_of_a_large_workflow_are_opened_from_the_top_down() -> None:
    chapters = [a("chain", f"Chapter {n}", *many(20)) for n in range(50)]
    root = boxes(a("chain", "Export", task("Read"), a("group", "Chapters", *chapters), task("End")))
    drawn = shown(root)
    assert len(drawn) == 52
    assert [box.node.name for box in drawn][:3] == ["Read", "Chapter 0", "Chapter 1"]
    assert [box.collapsed for box in drawn] == [False, *[True] * 50, False]


def test_branches_of_one_size_are_opened_together_or_not_at_all() -> None:
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


def test_a_pending_task_counts_as_long_as_others_of_its_class_took() -> None:
    known = [task(f"known {n}", Phase.SUCCEEDED, 50 + n, task_class="slow") for n in range(3)]
    ready = task("ready", Phase.SUCCEEDED, 2, task_class="quick")
    slow, quick = task("slow", task_class="slow"), task("quick", task_class="quick")
    rows = [a("chain", "", ready, quick, task("then", task_class="quick")), slow]
    top = a("chain", "", a("group", "", *known), a("chord", "", a("group", "", *rows), task("end")))
    assert critical(top)[-2:] == ["slow", "end"]


def test_a_running_task_counts_at_least_as_long_as_is_usual() -> None:
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


def test_the_critical_path_is_marked_in_picture_and_steps() -> None:
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


def test_groups_in_a_chain_are_connected_by_one_joint() -> None:
    top = a("chain", "", a("group", "", *many(3)), a("group", "", *many(3)))
    assert len(parsed(diagram(top, at=NOW)).findall(f"{SVG}circle")) == 1


def test_a_group_of_many_tasks_becomes_a_block_with_one_line_in_and_one_out() -> None:
    top = a("chain", "", task("a"), a("group", "Letters", *many(60)), task("b"))
    drawing = diagram(top, at=NOW)
    lines = [p for p in parsed(drawing).iter() if p.get("class") == "uw-graph-line"]
    assert len(lines) == 0  # Both are on the critical path.
    assert drawing.svg.count('class="uw-graph-line uw-graph-critical"') == 2
    assert "Letters · 60 at once" in [text.text for text in parsed(drawing).iter(f"{SVG}text")]
    assert float(parsed(drawing).get("width", "")) <= PAGE


def test_a_drawing_runs_down_the_page_unless_it_is_too_wide() -> None:
    few = placed(boxes(a("group", "", *(a("chain", "", *many(2)) for _ in range(3)))))
    wide = placed(boxes(a("group", "", *(a("chain", "", *many(2)) for _ in range(20)))))
    assert few.down
    assert not wide.down
    assert wide.width <= PAGE


def test_chains_run_straight() -> None:
    rows = [a("chain", "", *many(3)), task("one"), a("chain", "", *many(2))]
    drawn = placed(boxes(a("chain", "", task("a"), a("group", "", *rows), task("b"))))
    for line in drawn.layers.lines:
        if line.start.layer and len([x for x in drawn.layers.lines if x.end is line.end]) == 1:
            middles = [item.x + item.width / 2 for item in (line.start, line.end)]
            assert middles[0] == pytest.approx(middles[1], abs=0.2)


def test_a_line_past_several_layers_is_one_path() -> None:
    long = a("chain", "", *many(40))
    top = a("chord", "", a("group", "", long, *many(5, "short")), task("end"))
    paths = [path.get("class", "") for path in parsed(diagram(top, at=NOW)).findall(f"{SVG}path")]
    assert sum("uw-graph-line" in kind for kind in paths) == 39 + 1 + 5


def test_a_line_from_a_task_that_may_fail_is_dashed() -> None:
    top = a("chain", "", task("try", allow_failure=True), task("must"), task("end"))
    drawing = diagram(top, at=NOW)
    kinds = [path.get("class", "") for path in parsed(drawing).iter(f"{SVG}path")]
    lines = [kind for kind in kinds if "uw-graph-line" in kind]
    assert lines == ["uw-graph-line uw-graph-may-fail", "uw-graph-line"]
    assert drawing.has_may_fail
    assert not diagram(a("chain", "", task("a"), task("b")), at=NOW).has_may_fail


@pytest.mark.parametrize("count", [10, 300])
def test_a_line_from_many_is_dashed_if_each_of_them_may_fail(count: int) -> None:
    members = [task(f"Letter {n}", allow_failure=True) for n in range(count)]
    top = a("chord", "", a("group", "Letters", *members), task("Report"))
    assert diagram(top, at=NOW).has_may_fail
    members[7].allow_failure = False
    assert not diagram(top, at=NOW).has_may_fail


def test_a_task_and_the_tasks_it_has_sent_are_connected_by_dotted_lines() -> None:
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


def test_steps_name_few_predecessors_and_number_many() -> None:
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


def test_a_state_label_has_steps_and_duration() -> None:
    half = task("a", Phase.RUNNING, 75, total_steps=8, completed_steps=5)
    told = task("b", Phase.RUNNING, 75, state="Copying")
    lost = task("c", Phase.FAILED, 3, allow_failure=True)
    going = task("d", Phase.CANCELED, 3, settled_at=None)
    drawing = diagram(a("group", "", half, told, lost, going), at=NOW)
    assert titles(drawing) == [
        "a: In Progress · 5/8 · 1 min 15 s",
        "b: Copying · 1 min 15 s",
        "c: Failed (allowed) · 3.0 s",
        "d: Canceling (still running) · 3.0 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_a_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


HEBREW = "\u05e9\u05dc\u05d5\u05dd"


def test_a_long_name_is_clipped_in_its_box_and_whole_in_its_title() -> None:
    name = "An introduction to the night sky as it was seen by the ancients"
    drawing = diagram(task(name), at=NOW)
    assert titles(drawing) == [f"{name}: Pending"]
    found = [text.text for text in parsed(drawing).iter(f"{SVG}text")]
    assert str(found[0]).endswith("…")
    assert len(str(found[0])) < 25
    assert clip("short", 20) == "short"
    assert len(clip("漢" * 30, 12)) < len(clip("i" * 30, 12))


def test_text_that_xml_cannot_hold_is_replaced_and_right_to_left_text_isolated() -> None:
    assert clean("a\x00b\u202ec\n\td\ufffe") == "a\ufffdbc d\ufffd"
    drawing = diagram(a("chain", "", task(HEBREW), task("b")), at=NOW)
    text = next(iter(parsed(drawing).iter(f"{SVG}text")))
    assert text.get("direction") == "rtl"
    assert titles(drawing)[0] == f"\u2068{HEBREW}\u2069: Pending"
    assert drawing.steps[1].waits == f"waits for \u2068{HEBREW}\u2069 (1)"


def test_a_task_without_a_name_is_called_no_name() -> None:
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


def test_the_template_has_nothing_inline() -> None:
    html = page(a("chain", "", *(task(name) for name in HOSTILE)))
    assert not re.search(r"<(script|style)|\s(style|on\w+)=", html)


def test_graphs_of_two_workflows_in_one_page_have_distinct_ids() -> None:
    one, other = page(task("a")), page(task("a"))
    ids = re.findall(r'\sid="([^"]+)"', one + other)
    assert len(ids) == len(set(ids)) > 2


def test_an_empty_workflow_has_a_text_in_place_of_a_picture() -> None:
    assert "no tasks" in page(a("chain", "", a("group", "")))


def test_links_in_the_picture_are_open_to_screen_readers() -> None:
    root = parsed(diagram(task("a"), at=NOW))
    assert root.get("role") == "group"
    views = [view for view in root.iter(f"{SVG}svg") if view is not root]
    assert {view.get("aria-hidden") for view in views} == {"true"}  # The titles say it all.
