"""All shapes of canvas: what ran, under which ids, and what the tree says about it."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery.canvas import Signature, chunks

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, is_redis, until
from tests.acceptance.shapes import CELERYS, ENDLESS, FEW, LARGE, MAPPED, OURS, SHAPES, Parts
from tests.acceptance.trees import assert_signals_were_sent_once, settled
from user_workflows.canvas import workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

_CANVAS = {"celery's": CELERYS, "ours": OURS}
# Whose canvas it is decides what is planned, and does not matter to the result backend.
_WHOSE = ("celery's", "ours") if is_redis() else ("ours",)
ALL = [("prefork", name, whose) for name in SHAPES for whose in _WHOSE]
REST = [(kind, name, "ours") for kind in ("threads", "solo", "protocol-1") for name in FEW]
# Under protocol 1 Celery itself runs the stages of such a body several times.
REST.remove(("protocol-1", "chord body is a chain", "ours"))


class Runs:
    """What was submitted to one worker, all at once, so that tests need not wait in turn."""

    def __init__(self, worker: Worker, user: Any, wanted: list[tuple[str, str]]) -> None:
        self._tracked: dict[tuple[str, str], UserTaskStatus | Exception] = {}
        self.plain: dict[str, Any] = {}
        for name, whose in wanted:
            parts = Parts(f"{name}, {whose}", _CANVAS[whose], user_tasks=True)
            try:
                root = workflow(SHAPES[name](parts), user=user).delay()
            except Exception as error:
                self._tracked[name, whose] = error
            else:
                self._tracked[name, whose] = root
            if name not in self.plain:
                plain = SHAPES[name](Parts(f"{name}, plain", CELERYS, user_tasks=False))
                self.plain[name] = as_celery(plain).apply_async()

    def root(self, name: str, whose: str) -> UserTaskStatus:
        """The root of what became of a shape; raises what its submission raised."""
        root = self._tracked[name, whose]
        if isinstance(root, Exception):
            raise root
        return root


def as_celery(canvas: Any) -> Signature:
    """The canvas as Celery would run it, also one that went through JSON."""
    if isinstance(canvas, chunks):
        return canvas.group()
    return canvas if isinstance(canvas, Signature) else Signature.from_dict(canvas)


@pytest.fixture(scope="package")
def submitted(workers: Any) -> Iterator[dict[str, Runs]]:
    by_kind: dict[str, Runs] = {}
    yield by_kind
    by_kind.clear()  # Results unsubscribe when they are dropped, for which they need their app.
    gc.collect()


@pytest.fixture
def runs(
    request: pytest.FixtureRequest, worker: Worker, user: Any, submitted: dict[str, Runs]
) -> Runs:
    if worker.kind not in submitted:
        selected: list[Any] = [
            item for item in request.session.items if "runs" in item.fixturenames
        ]
        calls = [item.callspec.params for item in selected]
        wanted = [(call["name"], call["whose"]) for call in calls if call["worker"] == worker.kind]
        submitted[worker.kind] = Runs(worker, user, wanted)
    return submitted[worker.kind]


@pytest.mark.parametrize(
    ("worker", "name", "whose"),
    [*ALL, *REST],
    ids=lambda value: str(value).replace(" ", "-"),
    indirect=["worker"],
)
def test_every_task_runs_once_under_the_id_in_the_tree(
    runs: Runs, worker: Worker, name: str, whose: str
) -> None:
    submitted = runs.root(name, whose)
    root = settled(submitted)
    nodes = list(root.tree().walk())
    leaves = list(root.tree().leaves())

    assert {node.phase for node in nodes} == {Phase.SUCCEEDED}, tree_as_text(root)
    assert all(node.is_settled for node in nodes), tree_as_text(root)
    assert integrity.find_faults(root.tree_id) == []
    assert root.completed_steps == root.total_steps == len(leaves), tree_as_text(root)
    if name not in MAPPED:
        ran = Counter(event.task_id for event in worker.events(tag=f"{name}, {whose}"))
        assert ran == Counter(leaf.task_id for leaf in leaves), tree_as_text(root)
    assert_same_as_in_celery(worker, name, runs.plain[name], submitted.result, len(leaves))
    assert_signals_were_sent_once(worker, root)


@pytest.mark.parametrize("name", LARGE | ENDLESS)
def test_each_task_of_a_large_workflow_runs_once_and_is_counted(
    worker: Worker, user: Any, name: str
) -> None:
    build, expected = (LARGE | ENDLESS)[name]
    submitted = workflow(build(Parts(name, OURS, user_tasks=True)), user=user).delay()
    root = settled(submitted)
    leaves = list(root.tree().leaves())

    assert {leaf.phase for leaf in leaves} == {Phase.SUCCEEDED}
    assert root.completed_steps == root.total_steps == len(leaves)
    ran = Counter(event.task_id for event in worker.events(tag=name))
    assert ran == Counter(leaf.task_id for leaf in leaves)
    assert submitted.result.get(timeout=PATIENCE) == expected
    assert integrity.find_faults(root.tree_id) == []
    assert_signals_were_sent_once(worker, root)


def test_a_body_runs_after_a_header_with_nothing_in_it(worker: Worker, user: Any) -> None:
    header = [OURS.chain(OURS.group()), OURS.group(OURS.chain(OURS.group(OURS.group())))]
    submitted = workflow(OURS.chord(header, tasks.work.s(3)), user=user).delay()
    assert settled(submitted).phase == Phase.SUCCEEDED
    assert submitted.result.get(timeout=PATIENCE) == 3


def assert_same_as_in_celery(
    worker: Worker, name: str, plain: Any, tracked: Any, leaves: int
) -> None:
    assert tracked.get(timeout=PATIENCE) == plain.get(timeout=PATIENCE)
    if name not in MAPPED:
        tag = f"{name}, plain"
        until(lambda: len(worker.events(tag=tag)) >= leaves, "as many bodies in plain Celery")
        assert len(worker.events(tag=tag)) == leaves
