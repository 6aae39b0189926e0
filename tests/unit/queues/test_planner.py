"""The tree that a canvas becomes: its shape, its names, its steps."""

from __future__ import annotations

import json
from typing import Any

import celery
import pytest
from celery import signature
from celery.canvas import _chain

from tests import tasks
from tests.tasks import export, following, mixed, mute, plain, unnamed
from user_workflows import canvas as ours
from user_workflows.canvas import tracked, workflow
from user_workflows.exceptions import InvalidCanvas
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import copying
from user_workflows.queues.celery.planner import plan_canvas

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def learner(user: Any) -> Any:
    return user


def t(tag: str, **options: Any) -> Any:
    return signature(tasks.user.name, kwargs={"tag": tag, **options})


def chunked() -> Any:
    return plain.chunks([(number,) for number in range(5)], 2)


def planned(canvas: Any, user: Any, **options: Any) -> PlanNode:
    return workflow(canvas, user=user, **options).plan


def shape(node: PlanNode) -> Any:
    """A leaf's name, or a container's kind and members."""
    if node.node_type == "task":
        return node.name
    return {str(node.node_type): [shape(child) for child in node.children]}


@pytest.mark.parametrize("kind", [celery, ours], ids=["celery's", "ours"])
class TestBothCanvases:
    def test_a_chain(self, kind: Any, learner: Any) -> None:
        assert shape(planned(kind.chain(t("a"), t("b")), learner)) == {"chain": ["a", "b"]}

    def test_a_group_that_a_step_follows_is_a_chord(self, kind: Any, learner: Any) -> None:
        canvas = kind.chain(kind.group(t("a"), t("b")), t("c"))
        assert shape(planned(canvas, learner)) == {"chord": [{"group": ["a", "b"]}, "c"]}

    def test_a_group_between_steps_is_a_chord_in_the_chain(self, kind: Any, learner: Any) -> None:
        canvas = kind.chain(t("a"), kind.group(t("b"), t("c")), t("d"), t("e"))
        found = shape(planned(canvas, learner))
        chord = {"chord": [{"group": ["b", "c"]}, "d"]}
        assert found in (
            {"chain": ["a", chord, "e"]},
            {"chain": ["a", {"chord": [{"group": ["b", "c"]}, {"chain": ["d", "e"]}]}]},
        )

    def test_a_group_at_the_end_stays_a_group(self, kind: Any, learner: Any) -> None:
        canvas = kind.chain(t("a"), kind.group(t("b"), t("c")))
        assert shape(planned(canvas, learner)) == {"chain": ["a", {"group": ["b", "c"]}]}

    def test_two_groups_in_order(self, kind: Any, learner: Any) -> None:
        canvas = kind.chain(kind.group(t("a"), t("b")), kind.group(t("c"), t("d")))
        expected = {"chord": [{"group": ["a", "b"]}, {"group": ["c", "d"]}]}
        assert shape(planned(canvas, learner)) == expected

    def test_both_forms_of_a_chord(self, kind: Any, learner: Any) -> None:
        expected = {"chord": [{"group": ["a", "b"]}, "c"]}
        assert shape(planned(kind.chord([t("a"), t("b")], t("c")), learner)) == expected
        header = kind.group(t("a"), t("b"))
        assert shape(planned(kind.chord(header, t("c")), learner)) == expected
        if kind is ours:
            assert shape(planned(kind.chord(header)(t("c")), learner)) == expected

    def test_nested(self, kind: Any, learner: Any) -> None:
        canvas = kind.group(kind.chord([kind.group(t("a"))], kind.chain(t("b"), t("c"))), t("d"))
        header = {"group": [{"group": ["a"]}]}
        expected = {"group": [{"chord": [header, {"chain": ["b", "c"]}]}, "d"]}
        assert shape(planned(canvas, learner)) == expected


def test_a_task_alone_is_a_root_and_a_leaf(learner: Any) -> None:
    plan = planned(t("a", steps=5), learner)
    assert (shape(plan), plan.total_steps, plan.is_container) == ("a", 5, False)


def test_callbacks_are_in_the_tree_and_may_fail(learner: Any) -> None:
    sig = t("a")
    sig.link(t("x"))
    sig.link(celery.chain(t("y"), t("z")))
    plan = planned(celery.chain(sig, t("b")), learner)
    assert shape(plan) == {"chain": [{"link": ["a", "x", {"chain": ["y", "z"]}]}, "b"]}
    assert [child.allow_failure for child in plan.children[0].children] == [False, True, True]


def linked(canvas: Any, callback: Any) -> Any:
    canvas.link(callback)
    return canvas


@pytest.mark.parametrize("only_member", [False, True])
def test_links_of_a_chain_within_a_chain_are_on_its_last_task(
    only_member: bool, learner: Any
) -> None:
    inner = linked(ours.chain(t("a"), t("b")), t("x"))
    plan = planned(ours.chain(ours.group(inner) if only_member else inner, t("c")), learner)
    chain = {"chain": ["a", {"link": ["b", "x"]}]}
    assert shape(plan) == {"chain": [{"group": [chain]} if only_member else chain, "c"]}


def test_links_of_a_chain_that_is_a_body_are_on_its_last_task(learner: Any) -> None:
    body = linked(ours.chain(t("b"), t("c")), t("x"))
    plan = planned(ours.chord([t("a")], body), learner)
    assert shape(plan) == {"chord": [{"group": ["a"]}, {"chain": ["b", {"link": ["c", "x"]}]}]}


@pytest.mark.parametrize(
    ("around", "above"),
    [
        (lambda chain: chain, lambda it: it),
        (lambda chain: ours.group(chain, t("z")), lambda it: {"group": [it, "z"]}),
        (lambda chain: ours.chord([t("z")], chain), lambda it: {"chord": [{"group": ["z"]}, it]}),
    ],
)
def test_what_is_linked_to_a_chain_that_ends_in_a_group_is_sent_by_each_of_its_tasks(
    around: Any, above: Any, learner: Any
) -> None:
    last = ours.group(t("b"), ours.group(t("c"), ours.chain(t("d"), t("e"))))
    plan = planned(around(linked(ours.chain(t("a"), last), t("x"))), learner)
    inner = {"group": [{"link": ["c", "x"]}, {"link": [{"chain": ["d", "e"]}, "x"]}]}
    each = {"chain": ["a", {"group": [{"link": ["b", "x"]}, inner]}]}
    assert shape(plan) == above(each)
    assert len({leaf.task_id for leaf in plan.leaves()}) == sum(1 for _ in plan.leaves())


def test_an_empty_group_is_nothing_to_link_to(learner: Any) -> None:
    inner = linked(ours.chain(t("a"), ours.group()), t("x"))
    first = {"chain": [{"link": ["a", "x"]}, {"group": []}]}
    assert shape(planned(ours.chain(inner, t("b")), learner)) == {"chain": [first, "b"]}


def test_what_is_linked_to_such_a_chain_within_a_chain_is_sent_by_the_first(learner: Any) -> None:
    inner = linked(ours.chain(t("a"), some("b", "c")), t("x"))
    plan = planned(ours.chain(inner, t("d")), learner)
    header = {"group": [{"link": ["b", "x"]}, "c"]}
    assert shape(plan)["chain"][0] == {"chain": ["a", header]}


def test_a_chain_of_dictionaries_can_be_piped(learner: Any) -> None:
    piped = ours.chain(json.loads(json.dumps(t("a"))), t("b")) | t("c")
    assert shape(planned(piped, learner)) == {"chain": ["a", "b", "c"]}


def test_errbacks_are_not_in_the_tree(learner: Any) -> None:
    sig = t("a")
    sig.link_error(t("x"))
    assert shape(planned(sig, learner)) == "a"


@pytest.mark.parametrize("canvas", [chunked(), json.loads(json.dumps(chunked()))], ids=["", "JSON"])
def test_chunks_are_a_group_of_starmaps(canvas: Any, learner: Any) -> None:
    plan = planned(canvas, learner)
    assert plan.node_type == "group"
    assert [child.task_class for child in plan.children] == ["celery.starmap"] * 3
    assert [child.name for child in plan.children] == ["plain"] * 3


def test_chunks_below_the_top_are_one_leaf(learner: Any) -> None:
    assert shape(planned(celery.group(chunked(), t("a")), learner)) == {"group": ["plain", "a"]}


@pytest.mark.parametrize("canvas", [plain.map([1, 2]), plain.starmap([(1,)])], ids=str)
def test_maps_are_one_leaf_called_after_the_task(canvas: Any, learner: Any) -> None:
    assert shape(planned(canvas, learner)) == "plain"


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("canvas", "name"),
    [
        (plain.s(), "plain"),
        (unnamed.s(), "unnamed"),
        (t("Do it"), "Do it"),
        (tracked(t("Do it"), name="Well"), "Well"),
        (tracked(plain.s(), name="Well"), "Well"),
        (celery.chain(plain.s(), plain.s(), plain.s()), "3 tasks in order"),
        (celery.group(plain.s(), plain.s()), "2 tasks at once"),
        (celery.group(plain.s()), "1 task"),
        (celery.chord([plain.s(), plain.s()], plain.s()), "2 tasks, then 1"),
        (celery.group(unnamed.s(user_task_name=""), unnamed.s(user_task_name="All")), "All"),
        (celery.chain(plain.s(), celery.group(unnamed.s(user_task_name="In"), plain.s())), "In"),
        (ours.chain(plain.s(), name="Mine"), "Mine"),
        (ours.group(plain.s(), name="Mine"), "Mine"),
        (ours.chord([plain.s()], plain.s(), name="Mine"), "Mine"),
        (ours.chord([plain.s()], name="Mine")(plain.s()), "Mine"),
        (tracked(celery.chain(plain.s(), plain.s()), name="Mine"), "Mine"),
        (ours.group(unnamed.s(user_task_name="No"), name="Mine"), "Mine"),
        (ours.group([]), "nothing to do"),
        (export.s("CS101"), "Export CS101 as OLX"),
        (export.si(course="CS101", form="zip"), "Export CS101 as zip"),
        (mixed.si(1), "mixed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_root_is_called(canvas: Any, name: str, learner: Any) -> None:
    assert planned(canvas, learner).name == name


def test_a_name_for_the_workflow_wins(learner: Any) -> None:
    plan = planned(ours.chain(t("a"), name="Mine"), learner, name="Export CS101")
    assert (plan.name, plan.named) == ("Export CS101", True)


def test_only_names_given_by_the_caller_are_kept_from_set_name(learner: Any) -> None:
    plan = planned(ours.chain(tracked(t("a"), name="b"), t("c"), name="d"), learner)
    assert [(node.name, node.named) for node in plan.walk()] == [
        ("d", True), ("b", True), ("c", False)
    ]  # fmt: skip


def test_a_header_keeps_the_name_of_its_group(learner: Any) -> None:
    plan = planned(ours.chord(ours.group(t("a"), t("b"), name="Render"), t("c")), learner)
    assert [child.name for child in plan.children] == ["Render", "c"]


def test_a_name_that_needs_a_result_is_the_tasks_own_for_now(learner: Any) -> None:
    plan = planned(celery.chain(plain.s(), following.s(tag="after"), export.s()), learner)
    assert [leaf.name for leaf in plan.leaves()][1] == "after"
    assert all(leaf.name for leaf in plan.leaves())


def test_a_task_that_has_nothing_to_say_is_called_by_its_function(learner: Any) -> None:
    assert planned(mute.s(), learner).name == "mute"


@pytest.mark.parametrize("long", ["x" * 1000, "ü" * 1000])
def test_names_of_any_length_are_cut_off(long: str, learner: Any) -> None:
    header = celery.group(t(long), tracked(unnamed.s(user_task_name=long), name=long))
    plan = planned(ours.chain(header, name=long), learner, name=long)
    assert {node.name for node in plan.walk()} == {long[:255]}


# -- steps, failures -------------------------------------------------------------------------------


def test_containers_have_the_steps_of_their_leaves(learner: Any) -> None:
    canvas = celery.chord([t("a", steps=3), t("b", steps=0), plain.s()], t("c", steps=10))
    plan = planned(canvas, learner)
    assert [node.total_steps for node in plan.walk()] == [14, 4, 3, 0, 1, 10]


def test_a_negative_number_of_steps_is_none(learner: Any) -> None:
    assert planned(t("a", steps=-3), learner).total_steps == 0


def test_a_plain_task_can_not_be_allowed_to_fail(learner: Any) -> None:
    with pytest.raises(InvalidCanvas, match="it is no user task"):
        workflow(tracked(plain.s(), allow_failure=True), user=learner)


@pytest.mark.parametrize(
    "canvas",
    [
        ours.chain(t("a"), t("b"), allow_failure=True),
        ours.chain(ours.chain(t("a"), t("b"), allow_failure=True), t("c")),
        ours.chord([ours.chain(t("a"), t("b"), allow_failure=True)], t("c")),
        ours.chain(ours.group(ours.group(t("a"), allow_failure=True), t("b")), t("c")),
    ],
)
def test_a_container_is_refused_to_fail_where_celery_would_not_go_on(
    canvas: Any, learner: Any
) -> None:
    with pytest.raises(InvalidCanvas, match="cannot be allowed to fail"):
        workflow(canvas, user=learner)


def test_a_container_may_fail_in_a_group_that_nothing_waits_for(learner: Any) -> None:
    canvas = ours.group(ours.chain(t("a"), t("b"), allow_failure=True), t("c"))
    assert planned(canvas, learner).children[0].allow_failure
    later = ours.chain(t("x"), ours.group(ours.chain(t("a"), allow_failure=True), t("b")))
    assert planned(later, learner).children[1].children[0].allow_failure


# -- ids -------------------------------------------------------------------------------------------


def test_each_look_at_a_workflow_and_each_submission_has_ids_of_its_own(learner: Any) -> None:
    flow = workflow(celery.chain(t("a"), t("b")), user=learner)
    other = workflow(celery.chain(t("a"), t("b")), user=learner)
    ids = {node.task_id for node in [*flow.plan.walk(), *other.plan.walk()]}
    assert len(ids) == 6


def test_preset_ids_are_kept(learner: Any) -> None:
    canvas = celery.chord([t("a").set(task_id="1"), t("b")], t("c").set(task_id="3"))
    ids = [leaf.task_id for leaf in planned(canvas, learner).leaves()]
    assert (ids[0], ids[2]) == ("1", "3")


def test_the_graph_before_submission(learner: Any) -> None:
    flow = workflow(_chain(t("a"), t("b")), user=learner)
    edges = [(first.name, then.name) for first, then in flow.graph().edges]
    assert edges == [("a", "b")]


def test_a_group_that_a_step_follows_is_sent_as_the_chord_that_is_shown() -> None:
    written = _chain([t("a"), celery.group(t("b"), t("c")), t("d")])
    sent = copying.copy_canvas(written)
    root, _ = plan_canvas(sent)
    assert root is not None
    chord = sent.tasks[1]
    assert [task["task"] for task in sent.tasks] == [tasks.user.name, "celery.chord"]
    assert chord.kwargs["header"].options["task_id"] == root.children[1].children[0].task_id


def test_a_workflow_does_not_follow_later_changes_of_its_canvas(learner: Any) -> None:
    canvas = celery.group(t("a"), t("b"))
    flow = workflow(canvas, user=learner)
    canvas.tasks[0].kwargs["tag"] = "z"
    assert shape(flow.plan) == {"group": ["a", "b"]}


def test_what_follows_a_chord_waits_for_the_whole_group_that_is_its_body() -> None:
    body = celery.group(t("b"), t("c"))
    sent = copying.copy_canvas(_chain([celery.chord([t("a")], body), t("d")]))
    root, _ = plan_canvas(sent)
    assert root is not None
    assert shape(root) == {"chain": [{"chord": [{"group": ["a"]}, {"group": ["b", "c"]}]}, "d"]}
    [chord] = sent.tasks
    assert chord.kwargs["body"].kwargs["body"].kwargs["tag"] == "d"


# -- what is sent ----------------------------------------------------------------------------------


def sent(canvas: Any) -> Any:
    """A canvas as it is sent: a leaf's tag, or a container's kind and members."""
    made = copying.copy_canvas(canvas)
    plan_canvas(made)
    return written(made)


def written(sig: Any) -> Any:
    kind, kwargs = sig["subtask_type"], sig["kwargs"]
    if kind == "chord":
        return {"chord": [*map(written, kwargs["header"].tasks), "|", written(kwargs["body"])]}
    return {kind: [written(task) for task in kwargs["tasks"]]} if kind else kwargs["tag"]


def some(*tags: str) -> Any:
    return ours.group([t(tag) for tag in tags])


@pytest.mark.parametrize(
    ("members", "steps"),
    [
        ([ours.chain(t("a"), ours.chain(t("b"))), t("c")], ["a", "b", "c"]),
        ([t("a"), some("b"), t("c")], ["a", "b", "c"]),
        ([t("a"), ours.group(ours.chain(t("b"), t("c"))), t("d")], ["a", "b", "c", "d"]),
        ([some("a"), some("b"), t("c")], ["a", "b", "c"]),
        # There Celery makes a chord of a group of one.
        (
            [some("a", "b"), some("c"), t("d")],
            [{"chord": ["a", "b", "|", {"chord": ["c", "|", "d"]}]}],
        ),
        ([ours.group(some("a")), t("b")], [{"chord": ["a", "|", "b"]}]),
        ([t("a"), ours.group(), some("b", "c"), ours.group()], ["a", {"group": ["b", "c"]}]),
        ([ours.group(), ours.group()], [{"group": []}]),
        (
            [ours.chain(some("a", "b"), some("c", "d")), t("e")],
            [{"chord": ["a", "b", "|", {"chord": ["c", "d", "|", "e"]}]}],
        ),
        (
            [ours.chord([t("a")], ours.chain(t("b"), some("c", "d"))), t("e")],
            [{"chord": ["a", "|", {"chain": ["b", {"chord": ["c", "d", "|", "e"]}]}]}],
        ),
        ([ours.chord([t("a")], t("b")), t("c")], [{"chord": ["a", "|", "b"]}, "c"]),
        (
            [ours.chord([t("a")], ours.chain(t("b"), t("c"))), t("d")],
            [{"chord": ["a", "|", {"chain": ["b", "c"]}]}, "d"],
        ),
    ],
)
def test_a_chain_is_sent_as_celery_would_have_put_it(members: list[Any], steps: list[Any]) -> None:
    assert sent(ours.chain(members)) == {"chain": steps}


def test_a_chord_in_a_group_is_sent_as_a_chain() -> None:
    chord = ours.chord([ours.chord([t("a")], t("b"))], t("c"))
    inner = {"chord": [{"chord": ["a", "|", "b"]}, "|", "c"]}
    assert sent(ours.group(chord, t("d"))) == {"group": [{"chain": [inner]}, "d"]}


def test_a_group_alone_in_a_chain_is_given_what_the_chain_is_given() -> None:
    alone = ours.chain(ours.chain(some("b", "c")))
    group = {"group": ["b", "c"]}
    assert sent(ours.chord([t("a")], alone)) == {"chord": ["a", "|", group]}
    assert sent(ours.chain(t("a"), ours.group(alone, t("d")))) == {
        "chain": ["a", {"group": [group, "d"]}]
    }
    assert written(sent_link(alone)) == group
    assert sent(ours.chord([t("a")], ours.chain(ours.group(some("b", "c"))))) == {
        "chord": ["a", "|", group]
    }
    one = {"chain": [{"group": ["b"]}]}  # Celery sends the task alone.
    assert sent(ours.chord([t("a")], ours.chain(some("b")))) == {"chord": ["a", "|", one]}
    assert sent(ours.group(alone, t("d"))) == {"group": [{"chain": [{"chain": [group]}]}, "d"]}


def test_a_header_with_nothing_in_it_is_sent_empty() -> None:
    void = [ours.chain(ours.group()), ours.group(ours.chain(ours.group()))]
    assert sent(ours.chord(void, t("a"))) == {"chord": ["|", "a"]}
    half = {"chord": [{"chain": [{"group": []}]}, "b", "|", "a"]}
    assert sent(ours.chord([void[0], t("b")], t("a"))) == half


def sent_link(callback: Any) -> Any:
    made = linked(t("a"), copying.copy_canvas(callback))
    plan_canvas(made)
    return made.options["link"][0]


def test_errbacks_of_a_chain_that_is_taken_apart_are_on_its_tasks() -> None:
    inner = ours.chain(t("a"), some("b", "c")).on_error(t("x"))
    made = copying.copy_canvas(ours.chain(inner, t("d")))
    plan_canvas(made)
    first, chord = made.tasks
    for task in (first, *chord.kwargs["header"].tasks):
        assert [written(errback) for errback in task.options["link_error"]] == ["x"]
    assert "link_error" not in chord.kwargs["body"].options
