"""Copies of canvases share nothing with what the caller holds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain, chord, group, signature
from celery.canvas import Signature, _basemap, _chain

from tests.tasks import plain, user
from user_workflows import canvas as ours
from user_workflows.exceptions import InvalidCanvas
from user_workflows.queues.celery import copying
from user_workflows.queues.celery.planner import plan_canvas
from user_workflows.queues.celery.submission import result_of


def linked() -> Any:
    sig = plain.s(1, tag="linked")
    sig.link(plain.s(tag="callback"))
    sig.link_error(plain.s(tag="errback"))
    return sig


def deep(levels: int) -> Any:
    made: Any = plain.s(0)
    for level in range(levels):
        kinds = (group, _chain, lambda sigs: chord(sigs, plain.s(tag="body")))
        made = kinds[level % 3]([made, plain.s(level)])
    return made


same = plain.s(7)

CANVASES: dict[str, Callable[[], Any]] = {
    "a task": lambda: plain.s(1, key="word"),
    "immutable": lambda: plain.si(1).set(countdown=3, queue="slow", priority=7, headers={"a": {}}),
    "links": linked,
    "links in a group": lambda: group(linked(), linked()),
    "links in a chain": lambda: chain(linked(), linked()),
    "links in a chord": lambda: chord([linked(), linked()], linked()),
    "a chain": lambda: chain(plain.s(1), plain.s(), plain.s()),
    "pipes": lambda: plain.s(1) | group(plain.s(), plain.s()) | plain.s(),
    "a group": lambda: group(plain.s(1), plain.s(2)),
    "one signature thrice": lambda: group(same, same, same),
    "an empty group": lambda: group([]),
    "a chord": lambda: chord([plain.s(1), plain.s(2)], plain.s()),
    "a chord of a group": lambda: chord(group(plain.s(1), plain.s(2)), plain.s()),
    "a body that is a chord": lambda: chord([plain.s()], chord([plain.s(), plain.s()], plain.s())),
    "a body that is a chain": lambda: chord([plain.s()], chain(plain.s(), plain.s())),
    "chunks": lambda: plain.chunks([(1,), (2,), (3,)], 2),
    "a map": lambda: plain.map([1, 2, 3]),
    "a starmap": lambda: plain.starmap([(1,), (2,)]),
    "eight levels": lambda: deep(8),
    "named": lambda: ours.chord([ours.tracked(user.s(), name="x")], plain.s(), name="y"),
}


def signatures_in(value: Any) -> Iterator[Any]:
    """Every dictionary within a canvas that is a signature, or part of one and may change."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from signatures_in(part)
    elif isinstance(value, list | tuple):
        if isinstance(value, list):
            yield value
        for part in value:
            yield from signatures_in(part)


def plainly(value: Any) -> Any:
    """The canvas as JSON has it."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("case", CANVASES)
def test_a_copy_is_equal_and_shares_no_part_that_may_change(case: str) -> None:
    canvas = CANVASES[case]()
    copied = copying.copy_canvas(canvas)
    if isinstance(canvas, _basemap):  # Its class sends it by the route of the task it calls.
        canvas = canvas.set(route_name=canvas.kwargs["task"]["task"])
    assert plainly(copied) == plainly(canvas)
    own = {id(part) for part in signatures_in(canvas)}
    shared = [part for part in signatures_in(copied) if id(part) in own and part != {}]
    assert [part for part in shared if "task" in part] == []
    assert not {id(part) for part in signatures_in(copied) if "task" in part} & own


@pytest.mark.parametrize("case", CANVASES)
def test_one_signature_used_twice_becomes_two(case: str) -> None:
    copied = copying.copy_canvas(CANVASES[case]())
    found = [id(part) for part in signatures_in(copied) if isinstance(part, Signature)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("case", CANVASES)
def test_planning_a_copy_leaves_the_callers_canvas_as_it_was(case: str) -> None:
    canvas = CANVASES[case]()
    before = copy.deepcopy(plainly(canvas))
    plan, _ = plan_canvas(copying.copy_canvas(canvas))
    assert plan is not None
    assert plainly(canvas) == before


@pytest.mark.parametrize("case", CANVASES)
def test_all_ids_of_a_plan_are_preset_in_the_copy_and_differ(case: str) -> None:
    copied = copying.copy_canvas(CANVASES[case]())
    plan, calls = plan_canvas(copied)
    assert plan is not None
    ids = [node.task_id for node in plan.walk()]
    assert len(set(ids)) == len(ids)
    preset = [
        sig["options"]["task_id"]
        for sig in signatures_in(copied)
        if isinstance(sig, dict) and "task_id" in sig.get("options", {})
    ]
    assert {leaf.task_id for leaf in plan.leaves()} <= set(preset)
    assert len(calls) == sum(1 for _ in plan.leaves())


@pytest.mark.parametrize("case", CANVASES)
def test_a_canvas_from_json_is_copied_like_the_canvas(case: str) -> None:
    canvas = CANVASES[case]()
    there_and_back = plainly(canvas)
    copied = copying.copy_canvas(there_and_back)
    assert type(copied) is type(canvas) or case in ("chunks", "a map", "a starmap")
    assert plainly(copied) == there_and_back


@pytest.mark.parametrize("make", [plain.map, plain.starmap])
def test_generators_in_maps_are_run_once(make: Callable[[Any], Any]) -> None:
    once = copying.copy_canvas(make((number,) for number in range(3)))
    assert json.loads(json.dumps(once))["kwargs"]["it"] == [[0], [1], [2]]


@pytest.mark.parametrize(
    "make",
    [
        lambda members: group(members),
        lambda members: chord(members, plain.s()),
        lambda members: ours.group(members),
        lambda members: ours.chain(members),
        lambda members: ours.chord(members, plain.s()),
    ],
)
def test_generators_are_run_once(make: Callable[[Any], Any]) -> None:
    made: list[int] = []

    def members() -> Iterator[Any]:
        for number in range(3):
            made.append(number)
            yield plain.s(number)

    canvas = make(members())
    once = copying.copy_canvas(canvas)
    again = copying.copy_canvas(once)
    assert made == [0, 1, 2]
    assert plainly(again) == plainly(once)
    plan, _ = plan_canvas(again)
    assert plan is not None
    assert sum(1 for _ in plan.leaves()) >= 3


def test_options_that_celery_needs_are_kept() -> None:
    options = {"countdown": 3, "queue": "slow", "priority": 7, "expires": 60}
    copied = copying.copy_canvas(group(plain.s().set(**options), plain.s()))
    assert {key: copied.tasks[0].options[key] for key in options} == options


def test_a_copy_may_be_marked_and_the_original_is_not() -> None:
    original = plain.s()
    marked = ours.tracked(ours.tracked(user.s(), name="a"), allow_failure=True)
    assert marked.options[copying.ANNOTATIONS] == {"name": "a", "allow_failure": True}
    assert ours.tracked(original, name="x").options != original.options == {}


@pytest.mark.parametrize(
    "canvas", [None, 3, "add", [], {}, plain, [plain.s()], {"args": ()}, object()]
)
def test_what_is_no_signature_is_refused_in_words(canvas: Any) -> None:
    with pytest.raises(InvalidCanvas, match="made of signatures"):
        copying.copy_canvas(canvas)


def test_a_member_that_is_no_signature_is_refused() -> None:
    with pytest.raises(InvalidCanvas, match="made of signatures"):
        copying.copy_canvas({**group(plain.s()), "kwargs": {"tasks": [plain.s(), 3]}})


def test_a_chord_without_a_body_is_refused() -> None:
    with pytest.raises(InvalidCanvas, match="needs a body"):
        copying.copy_canvas(chord([plain.s(), plain.s()]))


def test_members_may_be_dictionaries() -> None:
    canvas = group(dict(plain.s(1)), dict(plain.s(2)), app=plain.app)
    plan, _ = plan_canvas(copying.copy_canvas(canvas))
    assert plan is not None
    assert len(plan.children) == 2


def test_result_objects_have_the_ids_of_the_plan() -> None:
    canvas = copying.copy_canvas(chain(plain.s(1), group(plain.s(), plain.s()), plain.s()))
    plan, _ = plan_canvas(canvas)
    assert plan is not None
    first, *members, last = [leaf.task_id for leaf in plan.leaves()]
    result = result_of(plan, plain.app)
    assert result.id == last
    assert [child.id for child in result.parent.results] == members
    assert result.parent.parent.id == first


def test_the_result_of_a_group_of_chains_ends_with_the_chains() -> None:
    canvas = copying.copy_canvas(group(chain(plain.s(1), plain.s()), plain.s()))
    plan, _ = plan_canvas(canvas)
    assert plan is not None
    first, second, other = [leaf.task_id for leaf in plan.leaves()]
    result = result_of(plan, plain.app)
    assert result.id == plan.task_id
    assert [child.id for child in result.results] == [second, other]
    assert result.results[0].parent.id == first


def test_the_result_of_a_task_with_callbacks_is_the_tasks() -> None:
    plan, _ = plan_canvas(copying.copy_canvas(linked()))
    assert plan is not None
    assert result_of(plan, plain.app).id == plan.children[0].task_id


def test_signatures_of_unknown_tasks_are_planned() -> None:
    plan, _ = plan_canvas(copying.copy_canvas(signature("nobody.knows.it", args=(1,))))
    assert plan is not None
    assert (plan.name, plan.total_steps) == ("it", 1)


def test_a_nest_is_not_copied_again_at_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Any] = []
    copy_one = copying.copy_canvas
    monkeypatch.setattr(
        copying,
        "copy_canvas",
        lambda canvas, app=None: copied.append(canvas) or copy_one(canvas, app),
    )
    made: Any = plain.s(0)
    for _ in range(10):
        made = ours.chain(ours.chord([ours.group([made], name="g")], plain.s(1), name="c"))
    assert copied == []


def test_a_chain_that_links_its_tasks_still_does() -> None:
    """What ``use_link`` says is kept beside the dictionary."""
    made = _chain([plain.s(1), plain.s(2)])
    made._use_link = True  # type: ignore[attr-defined]
    assert copying.copy_canvas(made)._use_link is True
