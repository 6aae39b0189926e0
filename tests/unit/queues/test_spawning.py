"""Tasks that make more tasks while they run: replaced ones, and what they merely send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Task, chain, chord, current_app, group, shared_task
from celery.result import allow_join_result, denied_join_result
from celery.signals import before_task_publish
from django.db import transaction
from django.utils.timezone import now

from tests.helpers import (
    assert_tree_is_sound,
    deliver,
    phases,
    signals,
    stored,
    work,
)
from tests.tasks import CALLS, Boom, Named, owned, plain, user
from user_workflows.canvas import tracked, workflow
from user_workflows.lifecycle import transitions
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import patches, spawning
from user_workflows.queues.celery.context import HEADER
from user_workflows.testing import ManualWorker, container, leaf, manual_worker

pytestmark = pytest.mark.django_db
learner = pytest.fixture(name="learner")(lambda user: user)

Shape = tuple[Any, ...]


#: What the bodies of ``becoming`` and ``sending`` do, by their tags.
MADE: dict[str, Callable[[], Any]] = {}


@pytest.fixture(autouse=True)
def made() -> Iterator[dict[str, Callable[[], Any]]]:
    MADE.clear()
    yield MADE
    MADE.clear()


@shared_task(bind=True, base=Named)
def becoming(self: Any, *values: Any, tag: str = "", steps: int = 1) -> Any:
    """Replaces itself. Celery's eager mode must be told that steps may wait for each other."""
    CALLS.append(tag)
    with allow_join_result():
        return self.replace(MADE[tag]())


@shared_task(bind=True, base=Named)
def becoming_at_once(self: Any, *values: Any, tag: str = "", steps: int = 1) -> Any:
    """Replaces itself, with what Celery's eager mode refuses to wait for."""
    with denied_join_result():
        return self.replace(MADE[tag]())


@shared_task(bind=True, base=Named)
def sending(self: Any, *values: Any, tag: str = "", steps: int = 1, do: str = "") -> str:
    """Sends something, and goes on."""
    CALLS.append(tag)
    MADE[tag]()
    if do == "raise":
        raise Boom(f"{tag} went wrong")
    return tag


@shared_task(bind=True, base=Named)
def adding(self: Any, *values: Any, tag: str = "", steps: int = 1) -> None:
    """Adds to its chord, which is refused by what keeps results in the tests."""
    with suppress(NotImplementedError):
        self.add_to_chord(task("x"))


def linked(first: Any, callback: Any) -> Any:
    """A task with a callback."""
    first.link(callback)
    return first


def task(tag: str, **options: Any) -> Any:
    return user.si(tag=tag, **options)


def shape(node: Any) -> Any:
    """A tree in brackets, leaves by their names."""
    kind = str(node.node_type.value)
    if not node.children:
        return node.name
    parts = [shape(child) for child in node.children]
    return (f"{node.name}+" if kind == "task" else kind, *parts)


def run(canvas: Any, learner: Any) -> Any:
    """The tree that an eager run of a canvas leaves."""
    root = workflow(canvas, user=learner).delay()
    assert_tree_is_sound(root.tree_id)
    root.refresh_from_db()
    tree = root.tree()
    for each in tree.walk():
        assert each.is_settled, each.name
    if tree.is_container:
        stored = (root.completed_steps, root.total_steps)
        assert stored == (tree.completed_steps, tree.total_steps)
    return tree


@pytest.mark.usefixtures("eager")
class TestReplace:
    @pytest.mark.parametrize(
        ("make", "grown", "ran"),
        [
            (lambda: task("x"), ("replaced", "x"), "ax"),
            pytest.param(
                lambda: chain(task("x"), task("y")), ("replaced", ("chain", "x", "y")), "axy"
            ),
            (lambda: group(task("x"), task("y")), ("replaced", ("group", "x", "y")), "axy"),
            (
                lambda: chord([task("x"), task("y")], task("z")),
                ("replaced", ("chord", ("group", "x", "y"), "z")),
                "axyz",
            ),
            (
                lambda: chord([task("x"), task("y")], chain(task("z"), task("w"))),
                ("replaced", ("chord", ("group", "x", "y"), ("chain", "z", "w"))),
                "axyzw",
            ),
            pytest.param(
                lambda: chain(
                    task("x"), chord([task("y"), chain(task("v"), task("w"))], task("z"))
                ),
                (
                    "replaced",
                    ("chain", "x", ("chord", ("group", "y", ("chain", "v", "w")), "z")),
                ),
                "axyvwz",
            ),
        ],
        ids=["task", "chain", "group", "chord", "chain as a body", "nested"],
    )
    @pytest.mark.parametrize("place", ["alone", "chain", "header", "body"])
    def test_what_a_task_becomes_stands_in_its_place(
        self, make: Any, grown: Shape, ran: str, place: str, learner: Any, calls: list[str]
    ) -> None:
        MADE["a"] = make
        a, b = becoming.si(tag="a"), task("b")
        canvas, expected, order = {
            "alone": (a, grown, ran),
            "chain": (chain(a, b), ("chain", grown, "b"), ran + "b"),
            "header": (
                chord([a, task("c")], b), ("chord", ("group", grown, "c"), "b"), ran + "cb",
            ),
            "body": (chord([b, task("c")], a), ("chord", ("group", "b", "c"), grown), "bc" + ran),
        }[place]  # fmt: skip
        tree = run(canvas, learner)
        assert shape(tree) == expected
        assert "".join(calls) == order
        assert {node.phase for node in tree.walk()} == {Phase.SUCCEEDED}

    def test_it_may_be_replaced_again_and_again(self, learner: Any, calls: list[str]) -> None:
        MADE["a"] = lambda: chain(task("x"), becoming.si(tag="b"))
        MADE["b"] = lambda: becoming.si(tag="c")
        MADE["c"] = lambda: group(task("y"), task("z"))
        tree = run(chain(becoming.si(tag="a"), task("d")), learner)
        inner = ("replaced", ("replaced", ("group", "y", "z")))
        assert shape(tree) == ("chain", ("replaced", ("chain", "x", inner)), "d")
        assert calls == [*"axbcyzd"]

    def test_the_totals_grow_once_by_what_comes_and_lose_what_goes(self, learner: Any) -> None:
        MADE["a"] = lambda: chain(task("x", steps=5), task("y", steps=7))
        tree = run(chain(becoming.si(tag="a", steps=3), task("b", steps=11)), learner)
        assert (tree.completed_steps, tree.total_steps) == (23, 23)

    def test_the_node_keeps_its_uuid_and_its_name_and_passes_its_task_id_on(
        self, learner: Any
    ) -> None:
        MADE["a"] = lambda: chain(task("x"), task("y"))
        with signals() as heard:
            tree = run(becoming.si(tag="a"), learner)
        last = list(tree.leaves())[-1]
        row = UserTaskStatus.objects.get(pk=last.pk)
        assert (tree.name, row.name, row.replaced_nesting) == ("a", "y", 1)
        assert row.task_id != tree.task_id
        assert heard["finished"] == [(tree.pk, Phase.SUCCEEDED)]
        assert len(heard["stopped"]) == len(set(heard["stopped"])) == 4

    def test_a_replacement_that_fails_is_a_failure_of_the_task(self, learner: Any) -> None:
        MADE["a"] = lambda: chain(task("x", do="raise"), task("y"))
        with pytest.raises(Boom):
            run(chain(becoming.si(tag="a"), task("b")), learner)
        root = UserTaskStatus.objects.roots().get()
        found = phases(root.pk)
        assert (found["a"], found["x"], found["y"], found["b"]) == (
            "FAILED", "FAILED", "SKIPPED", "SKIPPED",
        )  # fmt: skip
        assert root.phase == Phase.FAILED

    def test_nothing_stays_open_where_celery_refuses_to_run_it(self, learner: Any) -> None:
        MADE["a"] = lambda: chain(task("x"), task("y"))
        workflow(group(becoming_at_once.si(tag="a")), user=learner).delay()
        assert UserTaskStatus.objects.roots().get().phase == Phase.FAILED
        assert not UserTaskStatus.objects.active().exists()

    def test_outside_of_workflow_only_user_tasks_get_nodes(self, learner: Any) -> None:
        MADE["a"] = lambda: chain(plain.si(tag="p"), task("x"), plain.si(tag="q"))
        becoming.apply_async((), {"tag": "a"})
        assert not UserTaskStatus.objects.exists()  # Nobody's.
        MADE["a"] = lambda: chain(owned.si(learner.pk, tag="b"), becoming.si(tag="c"))
        MADE["c"] = lambda: chain(plain.si(tag="p"), task("x"), task("y"), plain.si(tag="q"))
        chain(owned.si(learner.pk, tag="o"), becoming.si(tag="c")).delay()
        tree = UserTaskStatus.objects.roots().get().tree()
        assert shape(tree) == ("chain", "o", ("replaced", ("chain", "x", "y")))


@pytest.mark.usefixtures("eager")
class TestSending:
    @pytest.mark.parametrize(
        ("send", "grown"),
        [
            (lambda: task("x").delay(), ("x",)),
            (lambda: plain.delay(tag="p"), ("plain",)),
            (lambda: [task("x").delay(), task("y").delay()], ("x", "y")),
            (lambda: chain(task("x"), task("y")).delay(), (("chain", "x", "y"),)),
            (lambda: group(task("x"), task("y")).delay(), (("group", "x", "y"),)),
            (
                lambda: chord([task("x"), task("y")], task("z")).delay(),
                (("chord", ("group", "x", "y"), "z"),),
            ),
        ],
        ids=["task", "plain task", "two tasks", "chain", "group", "chord"],
    )
    def test_it_hangs_under_the_task_that_sent_it(
        self, send: Any, grown: Shape, learner: Any
    ) -> None:
        MADE["a"] = send
        tree = run(chain(sending.si(tag="a", steps=4), task("b", steps=2)), learner)
        assert shape(tree) == ("chain", ("a+", *grown), "b")
        leaves = sum(1 for _ in tree.leaves()) - 2
        assert tree.total_steps == tree.completed_steps == 4 + 2 + leaves
        assert {node.phase for node in tree.walk()} == {Phase.SUCCEEDED}

    def test_what_is_sent_may_send_again(self, learner: Any) -> None:
        MADE["a"] = lambda: sending.si(tag="b").delay()
        MADE["b"] = lambda: group(task("x"), becoming.si(tag="c")).delay()
        MADE["c"] = lambda: task("y")
        tree = run(sending.si(tag="a"), learner)
        assert shape(tree) == ("a+", ("b+", ("group", "x", ("replaced", "y"))))

    def test_what_is_sent_by_a_captured_task_has_nodes_for_user_tasks_only(
        self, learner: Any
    ) -> None:
        MADE["a"] = lambda: [
            plain.delay(),
            chain(plain.si(), task("x"), plain.si()).delay(),
            owned.delay(learner.pk, tag="y"),
        ]
        chain(owned.si(learner.pk, tag="o"), sending.si(tag="a")).delay()
        tree = UserTaskStatus.objects.roots().get().tree()
        assert [leaf.name for leaf in tree.leaves()] == ["o", "a", "x", "y"]

    def test_its_result_is_that_of_what_has_run(self, learner: Any) -> None:
        results: list[Any] = []

        def send() -> None:
            with allow_join_result():
                results.append(task("x").delay().get())

        MADE["a"] = send
        run(sending.si(tag="a"), learner)
        assert results == ["x"]

    def test_a_retry_is_no_growth(self, learner: Any, calls: list[str]) -> None:
        tree = run(chain(task("a", do="retry", steps=3), task("b")), learner)
        assert shape(tree) == ("chain", "a", "b")
        assert calls == ["a", "a", "b"]
        assert tree.total_steps == 4

    def test_an_errback_is_no_growth(self, learner: Any) -> None:
        failing = task("a", do="raise").on_error(plain.si(tag="errback"))
        workflow(group(failing), user=learner).delay()
        assert [n.name for n in UserTaskStatus.objects.filter(node_type="task")] == ["a"]


class TestLooseTasks:
    """By events, without Celery: ``a``, which is followed by ``b``, has sent ``x`` and ``y``."""

    @pytest.fixture
    def nodes(self, db: None) -> dict[str, UserTaskStatus]:
        nodes = stored(container("chain", leaf("a"), leaf("b"), name="r"))
        transitions.begin(nodes["a"], 1, last_seen_at=now())
        plan = container("chain", leaf("x", total_steps=3), leaf("y"), allow_failure=True)
        spawning.attach_subtree(nodes["a"], plan)
        return {n.name: n for n in UserTaskStatus.objects.filter(tree_id=nodes["r"].pk)}

    def test_the_root_is_settled_when_they_have_ended_too(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        with signals() as heard:
            for name in "abx":
                transitions.settle(nodes[name], Phase.SUCCEEDED)
                assert heard["finished"] == []
            transitions.settle(nodes["y"], Phase.SUCCEEDED)
        assert heard["finished"] == [(nodes["r"].pk, Phase.SUCCEEDED)]
        root = UserTaskStatus.objects.get(name="r")
        assert (root.completed_steps, root.total_steps) == (6, 6)

    def test_the_root_waits_for_the_task_too(self, nodes: dict[str, UserTaskStatus]) -> None:
        for name in "xy":
            transitions.settle(nodes[name], Phase.SUCCEEDED)
        assert phases(nodes["r"].pk)["a"] == "RUNNING"
        for name in "ab":
            transitions.settle(nodes[name], Phase.SUCCEEDED)
        assert set(phases(nodes["r"].pk).values()) == {"SUCCEEDED"}

    @pytest.mark.parametrize("which", ["x", "y"])
    def test_one_that_fails_makes_the_workflow_partial(
        self, nodes: dict[str, UserTaskStatus], which: str
    ) -> None:
        for name in ("a", "b", "x", "y"):
            transitions.settle(nodes[name], Phase.FAILED if name == which else Phase.SUCCEEDED)
        found = phases(nodes["r"].pk)
        assert (found["r"], found["a"], found["b"]) == ("PARTIAL", "PARTIAL", "SUCCEEDED")
        assert not UserTaskStatus.objects.active().exists()

    @pytest.mark.parametrize("a_has_ended", [True, False], ids=["ended", "running"])
    def test_one_that_fails_within_a_canvas_skips_nothing_behind_the_task(
        self, nodes: dict[str, UserTaskStatus], a_has_ended: bool
    ) -> None:
        if a_has_ended:
            transitions.settle(nodes["a"], Phase.SUCCEEDED)
        transitions.settle(nodes["x"], Phase.FAILED)
        found = phases(nodes["r"].pk)
        assert (found["y"], found["b"]) == ("SKIPPED", "PENDING")

    def test_canceling_it_stops_neither_the_task_nor_what_follows(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["x"].cancel()
        found = phases(nodes["r"].pk)
        assert (found["x"], found["y"]) == ("CANCELED", "SKIPPED")
        assert (found["a"], found["b"]) == ("RUNNING", "PENDING")

    def test_a_failure_of_the_task_leaves_them_alone(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        transitions.settle(nodes["a"], Phase.FAILED)
        found = phases(nodes["r"].pk)
        assert (found["a"], found["b"], found["x"]) == ("FAILED", "SKIPPED", "PENDING")
        for name in "xy":
            transitions.settle(nodes[name], Phase.SUCCEEDED)
        assert phases(nodes["r"].pk)["r"] == "FAILED"
        assert not UserTaskStatus.objects.active().exists()

    def test_what_a_canceled_task_sends_never_runs(self, nodes: dict[str, UserTaskStatus]) -> None:
        nodes["r"].cancel()
        spawning.attach_subtree(nodes["a"], leaf("late", allow_failure=True))
        late = UserTaskStatus.objects.get(name="late")
        assert not transitions.begin(late, 1, last_seen_at=now())

    def test_what_a_replaced_task_had_counted_is_gone(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].increment_completed_steps(1)
        spawning.attach_subtree(nodes["a"], leaf("new", total_steps=9), in_place_of=0)
        stored = UserTaskStatus.objects.get(pk=nodes["a"].pk)
        assert (stored.completed_steps, stored.total_steps) == (0, 9)

    def test_a_late_retry_does_not_wake_a_task_that_has_ended(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        transitions.settle(nodes["a"], Phase.SUCCEEDED)
        transitions.retry(nodes["a"], 1)
        assert phases(nodes["r"].pk)["a"] == "SUCCEEDED"

    def test_the_graph_has_the_task_and_shows_that_nobody_waits_for_them(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        graph = nodes["r"].graph()
        edges = [(before.name, after.name) for before, after in graph.edges]
        assert sorted(edges) == [("a", "b"), ("x", "y")]


class TestWorkers:
    """Messages as a worker handles them; what is sent stays in the memory broker."""

    @pytest.fixture
    def committed(self, django_capture_on_commit_callbacks: Any) -> Any:
        return lambda: django_capture_on_commit_callbacks(execute=True)

    @pytest.fixture
    def root(self, learner: Any, sent: list[str], committed: Any) -> UserTaskStatus:
        """``a`` will become ``x`` -> ``y`` or send them; ``b`` follows it."""
        with committed():
            root = workflow(chain(becoming.si(tag="a"), task("b")), user=learner).delay()
        sent.clear()
        return root

    def test_a_replaced_tasks_message_that_comes_again_does_nothing(
        self, root: UserTaskStatus, sent: list[str], calls: list[str], committed: Any
    ) -> None:
        MADE["a"] = lambda: chain(task("x"), task("y"))
        original = UserTaskStatus.objects.get(name="a").task_id
        with committed():
            work(root, "a")
        assert calls == ["a"]
        before = list(UserTaskStatus.objects.order_by("pk").values())
        assert {row["name"] for row in before} >= {"a", "x", "y", "b"}
        first_sent = list(sent)
        with committed():
            deliver(becoming.name, original, "a", root, redelivered=True)
        assert calls == ["a"]
        assert sent == first_sent
        assert list(UserTaskStatus.objects.order_by("pk").values()) == before

    def test_the_heir_runs_under_the_original_id(
        self, root: UserTaskStatus, calls: list[str], committed: Any
    ) -> None:
        MADE["a"] = lambda: task("x")
        original = UserTaskStatus.objects.get(name="a").task_id
        with committed():
            work(root, "a")
            deliver(user.name, original, "x", root, replaced_task_nesting=1)
        assert calls == ["a", "x"]
        assert phases(root.pk)["a"] == "SUCCEEDED"

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
    def test_what_is_sent_in_a_transaction_is_stored_and_sent_with_its_commit(
        self, learner: Any, sent: list[str], commits: bool
    ) -> None:
        seen: list[tuple[int, int]] = []

        def send() -> None:
            with transaction.atomic():
                task("x").delay()
                chain(task("y"), task("z")).delay()
                seen.append((len(sent), UserTaskStatus.objects.count()))
                if not commits:
                    raise Boom

        MADE["a"] = send
        root = workflow(sending.si(tag="a"), user=learner).delay()
        sent.clear()
        work(root, "a")
        assert seen == [(0, 1)]
        assert len(sent) == (2 if commits else 0)
        assert UserTaskStatus.objects.count() == (5 if commits else 1)

    def test_a_node_is_stored_before_its_message_is_sent(
        self, learner: Any, sent: list[str], committed: Any
    ) -> None:
        MADE["a"] = lambda: [task("x").delay(), group(task("y"), task("z")).delay()]
        with committed():
            root = workflow(sending.si(tag="a"), user=learner).delay()
        sent.clear()
        with committed():
            work(root, "a")
            names = [n.name for n in UserTaskStatus.objects.order_by("lft")]
            assert (names, sent) == (["a"], [])
        leaves = [n for n in root.tree().leaves() if n.name != "a"]
        assert [n.task_id for n in leaves] == sent
        assert [n.phase for n in leaves] == [Phase.PENDING] * 3

    def test_what_a_canceled_task_becomes_never_runs(
        self, root: UserTaskStatus, calls: list[str], committed: Any
    ) -> None:
        def be_canceled() -> Any:
            root.cancel()
            return task("x")

        MADE["a"] = be_canceled
        original = UserTaskStatus.objects.get(name="a").task_id
        with committed():
            work(root, "a")
            deliver(user.name, original, "x", root, replaced_task_nesting=1)
        assert calls == ["a"]
        assert not UserTaskStatus.objects.active().exists()
        assert phases(root.pk) == dict.fromkeys([root.name, "a", "b"], "CANCELED")


@pytest.mark.django_db(transaction=True)
class TestMessages:
    """As on a worker: Celery embeds in each message what is to follow, and appends it to what a
    task becomes."""

    @pytest.fixture
    def worker(self) -> Iterator[ManualWorker]:
        with manual_worker() as worker:
            yield worker

    def run(self, canvas: Any, learner: Any, worker: ManualWorker) -> Any:
        root = workflow(canvas, user=learner).delay()
        worker.run_all()
        assert_tree_is_sound(root.tree_id)
        assert not UserTaskStatus.objects.active().exists()
        return root.tree()

    @pytest.mark.parametrize(
        ("make", "grown"),
        [
            (lambda: task("x"), "x"),
            (lambda: chain(task("x"), task("y")), ("chain", "x", "y")),
            (lambda: chain(plain.si(tag="x"), task("y")), ("chain", "plain", "y")),
            (lambda: group(task("x"), task("y")), ("group", "x", "y")),
            (
                lambda: chain(task("x"), becoming_at_once.si(tag="z")),
                ("chain", "x", ("replaced", "v")),
            ),
            (lambda: group(chain(task("x")), task("y")), ("group", "x", "y")),
        ],
        ids=["task", "chain", "plain", "group", "again", "chain of one"],
    )
    @pytest.mark.parametrize("place", ["alone", "chain", "header", "linked"])
    def test_what_a_task_becomes_stands_in_its_place(
        self, make: Any, grown: Shape, place: str, learner: Any, worker: ManualWorker
    ) -> None:
        MADE.update(a=make, z=lambda: task("v"))
        a, b = becoming.si(tag="a"), task("b")
        canvas, around = {
            "alone": (a, lambda a: a),
            "chain": (chain(a, b), lambda a: ("chain", a, "b")),
            "header": (
                chord([a, task("c")], b), lambda a: ("chord", ("group", a, "c"), "b"),
            ),
            "linked": (linked(a.clone(), b), lambda a: ("link", a, "b")),
        }[place]  # fmt: skip
        tree = self.run(canvas, learner, worker)
        assert shape(tree) == around(("replaced", grown))
        assert {node.phase for node in tree.walk()} == {Phase.SUCCEEDED}

    @pytest.mark.parametrize("is_allowed", [True, False])
    def test_a_replacement_may_fail_as_the_task_could(
        self, is_allowed: bool, learner: Any, worker: ManualWorker
    ) -> None:
        MADE["a"] = lambda: chain(task("x"), task("y", do="raise"))
        a = tracked(becoming.si(tag="a"), allow_failure=is_allowed)
        tree = self.run(chain(a, task("b")), learner, worker)
        found = phases(tree.pk)
        expected = ("PARTIAL", "SUCCEEDED") if is_allowed else ("FAILED", "SKIPPED")
        assert (found["a"], found["b"]) == expected

    def test_only_the_last_task_of_it_may(self, learner: Any, worker: ManualWorker) -> None:
        MADE["a"] = lambda: chain(task("x", do="raise"), task("y"))
        a = tracked(becoming.si(tag="a"), allow_failure=True)
        tree = self.run(chain(a, task("b")), learner, worker)
        found = phases(tree.pk)
        assert (found["a"], found["y"], found["b"]) == ("FAILED", "SKIPPED", "SKIPPED")

    @pytest.mark.parametrize("replaces", [True, False])
    def test_nothing_is_lost_where_its_tree_cannot_be_written(
        self,
        replaces: bool,
        learner: Any,
        worker: ManualWorker,
        monkeypatch: pytest.MonkeyPatch,
        caplog: Any,
    ) -> None:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise ValueError

        MADE["a"] = lambda: task("x") if replaces else task("x").delay()
        root = workflow((becoming if replaces else sending).si(tag="a"), user=learner).delay()
        monkeypatch.setattr(spawning, "attach_subtree", broken)
        worker.run_all()
        assert CALLS == ["a", "x"]
        assert "will not see" in caplog.text
        assert set(phases(root.pk)) == {"a"}

    def test_nor_where_it_cannot_be_planned(
        self, learner: Any, worker: ManualWorker, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise ValueError

        MADE["a"] = lambda: task("x").delay()
        root = workflow(sending.si(tag="a"), user=learner).delay()
        monkeypatch.setattr(spawning, "plan_canvas", broken)
        worker.run_all()
        assert CALLS == ["a", "x"]
        assert "will not see" in caplog.text
        assert phases(root.pk) == {"a": "SUCCEEDED"}
        assert HEADER not in worker.sent[-1].headers

    def test_celerys_own_tasks_pass_the_workflow_on(
        self, learner: Any, worker: ManualWorker
    ) -> None:
        """So does one that waits for a chord, to what comes after that."""
        MADE["a"] = lambda: current_app.tasks["celery.accumulate"].delay(1)
        tree = self.run(sending.si(tag="a"), learner, worker)
        assert phases(tree.pk) == {"a": "SUCCEEDED"}
        assert worker.sent[-1].headers[HEADER] == tree.pk

    def test_celery_is_told_once_what_happens(self) -> None:
        before = (Task.on_replace, Task.add_to_chord, Task.apply_async)
        patches.install()
        assert before == (Task.on_replace, Task.add_to_chord, Task.apply_async)

    def test_what_is_sent_fails_for_itself(self, learner: Any, worker: ManualWorker) -> None:
        MADE["a"] = lambda: task("x", do="raise").delay()
        tree = self.run(sending.si(tag="a"), learner, worker)
        assert phases(tree.pk) == {"a": "PARTIAL", "x": "FAILED"}

    def test_what_is_sent_has_the_id_that_the_task_gets_and_a_name(
        self, learner: Any, worker: ManualWorker
    ) -> None:
        ids: list[str] = []

        def send() -> None:
            with transaction.atomic():
                ids.append(chain(task("x"), task("y")).delay().id)
                ids.append(task("z").delay().id)
            ids.append(task("v").delay().id)

        MADE["a"] = send
        tree = self.run(sending.si(tag="a"), learner, worker)
        names = {node.task_id: node.name for node in tree.walk()}
        assert [names[task_id] for task_id in ids] == ["y", "z", "v"]
        assert [node.name for node in tree.children] == ["2 tasks in order", "z", "v"]

    @pytest.mark.parametrize("is_whole", [True, False])
    def test_whether_plain_tasks_have_nodes_is_passed_on(
        self, is_whole: bool, learner: Any, worker: ManualWorker
    ) -> None:
        MADE["a"] = lambda: sending.si(tag="b").delay()
        MADE["b"] = lambda: [plain.delay(), plain.map([1]).delay()]
        a = sending.si(tag="a")
        if is_whole:
            workflow(a, user=learner).delay()
        else:
            chain(owned.si(learner.pk, tag="o"), a).delay()
        worker.run_all()
        tasks = UserTaskStatus.objects.filter(node_type="task").exclude(name="o")
        names = sorted(tasks.values_list("name", flat=True))
        assert names == ["a", "b", *(("plain", "plain") if is_whole else ())]

    def test_what_it_adds_to_its_chord_is_waited_for(
        self, learner: Any, worker: ManualWorker
    ) -> None:
        """Celery can do that with results in Redis only."""
        root = workflow(chord([adding.si(tag="a"), task("b")], task("c")), user=learner).delay()
        worker.run_all()
        assert shape(root.tree()) == ("chord", ("group", ("a+", "x"), "b"), "c")
        assert "adding" not in CALLS


@pytest.mark.django_db(transaction=True)
def test_what_a_task_without_a_node_has_sent_belongs_to_its_workflow(
    learner: Any, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    def hear(headers: Any, **kwargs: Any) -> None:
        heard.append((headers["id"], headers.get(HEADER)))

    root = workflow(task("a"), user=learner).delay()
    before_task_publish.connect(hear)
    try:
        plain.apply_async(task_id="elsewhere")
        following = plain.si().set(task_id="next")
        deliver(plain.name, "nobody's", "p", root, chain=[following])
    finally:
        before_task_publish.disconnect(hear)
    assert heard == [("elsewhere", None), ("next", root.tree_id)]
