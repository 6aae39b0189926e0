"""How trees look as text: pure functions, no database, no terminal."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from user_workflows.phases import NodeType, Phase
from user_workflows.terminal import ASCII, Picture, as_text, plain
from user_workflows.tree.nodes import TreeNode, _sum_up

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = count(1)
HOSTILE = "[bold red]x[/] \x1b[2J\x1b[31m\r\nnew\tline \u202eevil\u2066 \x07\u2028end \ud800 \x9b1m"
HEBREW = "שלום עולם"


def made(
    name: str,
    phase: Phase = Phase.PENDING,
    *children: TreeNode,
    kind: str = "task",
    steps: tuple[int, int] | None = None,
    took: float | None = None,
    settled: bool | None = None,
    state: str = "",
    **options: Any,
) -> TreeNode:
    """A node as ``trees.read`` would give it; terminal ones are settled unless told."""
    settled = phase.is_terminal if settled is None else settled
    started = NOON - timedelta(seconds=took) if took is not None else None
    total = (int(phase is Phase.SUCCEEDED), 1) if steps is None else steps
    node = TreeNode(
        pk=next(KEYS),
        uuid=uuid4(),
        task_id=name,
        parent_id=None,
        level=0,
        node_type=NodeType(kind),
        task_class="t",
        name=name,
        state=state or phase.state,
        phase=phase,
        allow_failure=options.pop("allow_failure", False),
        completed_steps=total[0],
        total_steps=total[1],
        attempts=options.pop("attempts", 1),
        created=NOON,
        modified=NOON,
        started_at=started,
        settled_at=NOON if settled else None,
        ended_at=None,
        last_seen_at=None,
        caused_by_id=options.pop("caused_by_id", None),
        children=list(children),
    )
    for child in children:
        child.parent_id = node.pk
        for below in child.walk():
            below.level += 1
    _sum_up(node)
    return node


def drawn(tree: TreeNode, width: int | None = 100, height: int | None = None, **more: Any) -> str:
    return plain(Picture(tree, at=NOON, **more).lines(width, height))


def course() -> tuple[TreeNode, dict[int, str]]:
    """An export in which one lesson failed while another one runs."""
    failed = made("Lesson 2", Phase.FAILED, steps=(1, 4), took=2)
    one = made(
        "Module 1",
        Phase.RUNNING,
        made("Lesson 1", Phase.RUNNING, steps=(3, 8), took=65, state="Exporting videos"),
        made("Pack"),
        kind="chain",
        took=65,
    )
    two = made(
        "Module 2",
        Phase.FAILED,
        failed,
        made("Pack", Phase.SKIPPED, caused_by_id=failed.pk),
        kind="chain",
        took=3,
    )
    group = made("Chapters", Phase.FAILED, one, two, kind="group", settled=False, took=65)
    body = made("Assemble", Phase.SKIPPED, caused_by_id=failed.pk)
    chord = made("Export", Phase.FAILED, group, body, kind="chord", settled=False, took=65)
    read = made("Read", Phase.SUCCEEDED, took=0.4, attempts=2)
    root = made("The course", Phase.FAILED, read, chord, kind="chain", settled=False, took=66)
    return root, {failed.pk: "The picture moon.png\nis missing"}


# -- the look -------------------------------------------------------------------------------------


def test_a_tree_with_enough_width_shows_every_column_and_reason():
    tree, texts = course()
    assert (
        as_text(tree, texts=texts, at=NOON)
        == """\
✗ The course  chain in order  Failing (1 still running)  ██████░░░░░░░░░░░░░░  5/16 steps  1m06s
├─ ✓ Read                            Succeeded, attempt 2               1/1    0.4s
└─ ✗ Export  chord                   Failing (1 still running)         4/15   1m05s
   ├─ ✗ Chapters  group at once      Failing (1 still running)         4/14   1m05s
   │  ├─ ● Module 1  chain in order  In Progress          ███░░░░░░░    3/9   1m05s
   │  │  ├─ ● Lesson 1               Exporting videos     ███░░░░░░░    3/8   1m05s
   │  │  └─ ○ Pack                   Pending                            0/1
   │  └─ ✗ Module 2  chain in order  Failed               ██░░░░░░░░    1/5    3.0s
   │     ├─ ✗ Lesson 2               Failed               ██░░░░░░░░    1/4    2.0s
   │     │     The picture moon.png is missing
   │     └─ - Pack                   Skipped, not run because of Lesson 2
   └─ - Assemble                     Skipped, not run because of Lesson 2"""
    )


def test_a_tree_in_forty_columns_keeps_nodes_states_and_reasons():
    tree, texts = course()
    assert (
        drawn(tree, 40, texts=texts)
        == """\
✗ The course  Failing
  █████░░░░░░░░░░░░░░  5/16 steps  1m06s
├─✓ Read            Succeeded, attempt 2
└─✗ Export                  Failing 4/15
  ├─✗ Chapters              Failing 4/14
  │ ├─● Module 1         In Progress 3/9
  │ │ ├─● Lesson 1  Exporting videos 3/8
  │ │ └─○ Pack                   Pending
  │ └─✗ Module 2                  Failed
  │   ├─✗ Lesson 2                Failed
  │   │   The picture moon.png is
  │   │   missing
  │   └─- Pack                   Skipped
  │       not run because of Lesson 2
  └─- Assemble                   Skipped
      not run because of Lesson 2"""
    )


def test_columns_are_aligned_whatever_the_width_of_letters():
    tree = made(
        "root", Phase.RUNNING, made("ascii"), made("漢字の名前"), made("é" * 90), kind="group"
    )
    starts = {
        cell_len(line[: line.index("Pending")])
        for line in drawn(tree, 80).splitlines()
        if "Pending" in line
    }
    assert len(starts) == 1


def test_a_workflow_of_one_task_is_one_line_and_its_reason():
    tree = made("Only", Phase.FAILED, steps=(0, 1), took=5)
    lines = drawn(tree, 60, texts={tree.pk: "no room"}).splitlines()
    assert lines[0].startswith("✗ Only  Failed  ░") and lines[0].endswith("░  0/1 steps  5.0s")
    assert [line.strip() for line in lines[1:]] == ["no room"]


def test_a_picture_with_ascii_glyphs_is_ascii_only():
    tree, texts = course()
    assert drawn(tree, 100, texts=texts, glyphs=ASCII).isascii()


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (made("n", Phase.PENDING), "Pending"),
        (made("n", Phase.RUNNING), "In Progress"),
        (made("n", Phase.RUNNING, state="Sending\nmail"), "Sending mail"),
        (made("n", Phase.RETRYING, attempts=3), "Retrying (attempt 3)"),
        (made("n", Phase.PARTIAL), "Succeeded with failures"),
        (made("n", Phase.FAILED), "Failed"),
        (made("n", Phase.FAILED, allow_failure=True), "Failed (allowed)"),
        (made("n", Phase.FAILED, settled=False), "Failing (still running)"),
        (made("n", Phase.CANCELED, settled=False), "Canceling (still running)"),
        (
            made(
                "n",
                Phase.CANCELED,
                made("a", Phase.CANCELED, settled=False),
                made("b", Phase.CANCELED, settled=False),
                made("c", Phase.CANCELED),
                kind="group",
                settled=False,
            ),
            "Canceling (2 still running)",
        ),
        (
            made(
                "n", Phase.FAILED, made("a", Phase.FAILED), made("b"), kind="group", settled=False
            ),
            "Failing (1 still pending)",
        ),
    ],
)
def test_a_state_gets_its_label_with_open_tasks_and_attempts(node: TreeNode, words: str):
    assert Picture(node).state(node) == words


def test_a_failing_task_with_children_counts_itself_only_until_its_body_ends():
    tree = made("grown", Phase.FAILED, made("child", Phase.RUNNING), settled=False)
    assert Picture(tree).state(tree) == "Failing (2 still running)"
    tree.ended_at = NOON
    assert Picture(tree).state(tree) == "Failing (1 still running)"


def test_a_cause_outside_of_the_branch_is_shown_by_name():
    tree = made("Assemble", Phase.SKIPPED, caused_by_id=12345)
    assert "not run because of Lesson 2" in drawn(tree, names={12345: "Lesson 2"})


def test_a_skipped_container_gives_the_reason_once():
    failed = made("Lesson", Phase.FAILED)
    parts = [made(f"part {n}", Phase.SKIPPED, caused_by_id=failed.pk) for n in range(3)]
    skipped = made("Later", Phase.SKIPPED, *parts, kind="group", caused_by_id=failed.pk)
    text = drawn(made("root", Phase.FAILED, failed, skipped, kind="chain"))
    assert text.count("not run because of Lesson") == 1


# -- what fits ------------------------------------------------------------------------------------


def big(failed: int = 3, running: int = 2, succeeded: int = 480, pending: int = 12) -> TreeNode:
    phases = [Phase.SUCCEEDED] * succeeded + [Phase.FAILED] * failed
    phases += [Phase.RUNNING] * running + [Phase.PENDING] * pending
    parts = [made(f"part {n} {phase.value}", phase) for n, phase in enumerate(phases)]
    group = made("Parts", Phase.FAILED, *parts, kind="group", settled=False)
    return made("Big", Phase.FAILED, group, made("After"), kind="chord", settled=False)


def test_a_tree_that_does_not_fit_shows_failed_and_running_nodes_and_counts_the_rest():
    lines = drawn(big(), 100, 9).splitlines()
    assert len(lines) == 9
    assert sum("FAILED" in line for line in lines) == 3
    assert sum("RUNNING" in line for line in lines) == 2
    assert any("480 succeeded, 12 pending" in line for line in lines)


def test_hidden_tasks_are_counted_exactly_at_every_height():
    tree = big()
    for height in range(4, 40):
        lines = drawn(tree, 100, height).splitlines()
        shown = sum("part " in line for line in lines)
        if shown:
            words = next(line for line in lines if "…" in line).replace(",", "").split()
            assert shown + sum(int(word) for word in words if word.isdigit()) == 497
        assert shown or height < 5


def test_many_failures_leave_lines_for_running_tasks():
    lines = drawn(big(failed=300, running=5), 100, 20).splitlines()
    assert len(lines) <= 20
    assert sum("RUNNING" in line for line in lines) == 5
    assert sum("FAILED" in line for line in lines) >= 5


def test_a_failure_is_shown_where_hardly_anything_fits():
    tree, texts = course()
    assert "moon.png" in drawn(tree, 100, 10, texts=texts)


def test_a_tree_that_fits_is_shown_whole():
    tree, texts = course()
    assert "…" not in drawn(tree, 100, 12, texts=texts)
    assert drawn(tree, 100, 12, texts=texts) == drawn(tree, 100, texts=texts)


def test_a_huge_tree_without_a_height_is_drawn_whole():
    assert len(drawn(big(succeeded=9_985), 100).splitlines()) == 10_005


# -- whatever users call things -------------------------------------------------------------------

names = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(exclude_categories=[]), max_size=30),
    st.sampled_from([HOSTILE, HEBREW, "漢字" * 40, "👩‍👩‍👧 family 🇩🇪 ❤️", "", "a\u0301" * 50]),
)
nodes = st.builds(made, names, st.sampled_from(Phase), state=names, attempts=st.integers(1, 12))
grown = st.recursive(
    nodes,
    lambda below: st.builds(
        lambda name, phase, children, kind: made(name, phase, *children, kind=kind),
        names,
        st.sampled_from(Phase),
        st.lists(below, max_size=5),
        st.sampled_from(["chain", "group", "chord", "link"]),
    ),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(grown, names, st.sampled_from([24, 39, 40, 59, 60, 79, 80, 89, 90, 120]), st.data())
def test_no_line_is_too_wide_or_holds_a_control_character(
    tree: TreeNode, text: str, width: int, data: st.DataObject
):
    texts = {node.pk: text for node in tree.walk() if node.phase is Phase.FAILED}
    picture = Picture(tree, texts=texts, at=NOON)
    height = data.draw(st.none() | st.integers(6, 40))
    lines = picture.lines(width, height)
    for line in lines:
        words = "".join(text for text, _ in line)
        assert cell_len(words.rstrip()) <= width
        words.encode()
        assert not {unicodedata.category(c) for c in words} & {"Cc", "Cs", "Zl", "Zp"}
        assert words.count("\u2068") == words.count("\u2069")
    if height is None:
        assert len(lines) >= sum(1 for _ in tree.walk())
    else:
        assert len(lines) <= height


def test_markup_in_names_is_shown_as_text():
    tree = made(
        "[bold red]root[/bold red]", Phase.RUNNING, made("[/] :smile: [link=x]"), kind="group"
    )
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system="truecolor")
    for line in Picture(tree).lines(99):
        console.print(Text.assemble(*line))
    assert "[bold red]root[/bold red]" in out.getvalue()
    assert "[/] :smile: [link=x]" in out.getvalue()
