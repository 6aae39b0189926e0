"""django-user-workflows."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery import current_app
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.timezone import now

from user_workflows import user_task_stopped
from user_workflows.canvas import chord, workflow
from user_workflows.lifecycle import progress as writing
from user_workflows.lifecycle import steps, transitions
from user_workflows.lifecycle.execution import Execution
from user_workflows.maintenance import deletion
from user_workflows.maintenance.deletion import BATCH_SIZE
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf, store_tree
from user_workflows.tree import integrity

from .. import tasks
from ..measure import measured
from . import common
from .common import plain, prepare  # noqa: F401

TABLE = "user_workflows_usertaskstatus"
objects = UserTaskStatus.objects


def clear() -> None:
    """Delete what earlier measurements have left."""
    common.empty(TABLE)


def publish(size: int, user_id: int) -> dict[str, float]:
    """Publish a chord."""
    canvas, user = common.chord_of(size, user_id), owner(user_id)
    return measured(lambda: workflow(canvas, user=user).delay())


def owner(user_id: int) -> Any:
    """Return the user who owns the workflows."""
    return get_user_model().objects.get(pk=user_id)


def drain(size: int, user_id: int, seconds: float = 0) -> dict[str, float]:
    """Have a worker run a group."""
    flow = workflow(common.group_of(size, user_id, seconds), user=owner(user_id))
    return common.drained(flow.delay)


def increments(times: int, user_id: int) -> float:
    """Count steps in a worker, on a task two levels down."""
    canvas = chord([tasks.count.si(user_id, times)], tasks.step.si(user_id))
    root = workflow(canvas, user=owner(user_id)).delay()
    return float(common.in_worker(root.result.parent.results[0]))


def tracking(items: int, user_id: int) -> float:
    """Iterate over items in a worker."""
    root = workflow(tasks.track.si(user_id, items), user=owner(user_id)).delay()
    return float(common.in_worker(root.result))


def _stored(size: int, user_id: int) -> UserTaskStatus:
    header = container("group", *(leaf("step") for _ in range(size)), name="group")
    return store_tree(container("chord", header, leaf("body"), name="chord"), user=owner(user_id))


def leaves(size: int, user_id: int) -> list[int]:
    """Store a chord whose tasks are running; return the keys of its leaves."""
    tree = objects.filter(tree_id=_stored(size, user_id).pk)
    tree.exclude(name="body").update(phase=Phase.RUNNING, state=Phase.RUNNING.state)
    return list(tree.filter(name="step").order_by("lft").values_list("pk", flat=True))


_mine: list[UserTaskStatus] = []


def take(pks: list[int]) -> None:
    """Read the leaves that this process will end."""
    _mine[:] = objects.filter(pk__in=pks)


def settle(at: float, announced: bool) -> dict[str, Any]:
    """End the leaves as a worker does, from the moment ``at``; return how often each was ended.

    With ``announced``, a receiver also counts the containers that this process has settled.
    """
    sent: Counter[int] = Counter()

    def stopped(status: Any, **kwargs: Any) -> None:
        sent[status.pk] += 1

    if announced:
        user_task_stopped.connect(stopped)
    time.sleep(max(0.0, at - time.time()))
    won = [node.pk for node in _mine if transitions.settle(node, Phase.SUCCEEDED, attempt=1)]
    end = time.time()
    user_task_stopped.disconnect(stopped)
    return {"end": end, "won": dict(sent if announced else Counter(won))}


def spawn(at: float, pks: list[int], seconds: float) -> tuple[int, float]:
    """Attach spawned tasks to these leaves in turns; return how many, and in how many seconds."""
    leaves = list(objects.filter(pk__in=pks))
    time.sleep(max(0.0, at - time.time()))
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        spawning.attach_subtree(leaves[done % len(leaves)], leaf("sent"))
        done += 1
    return done, time.perf_counter() - begin


def insert_rows(at: float, pks: list[int], seconds: float) -> tuple[int, float]:
    """Insert rows that are in no tree; return how many, and in how many seconds."""
    user_id = objects.values_list("user_id", flat=True).get(pk=pks[0])
    time.sleep(max(0.0, at - time.time()))
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        row = UserTaskStatus(
            user_id=user_id, task_id=str(uuid4()), name="sent", total_steps=1,
            tree_id=0, lft=1, rght=2, level=0,
        )  # fmt: skip
        with transaction.atomic():
            objects.bulk_create([row])
        done += 1
    return done, time.perf_counter() - begin


def faults() -> list[str]:
    """Return the faults of the bounds of all workflows."""
    return [fault for root in objects.roots() for fault in integrity.find_faults(root.pk)]


def read(size: int, user_id: int) -> dict[str, float]:
    """Read a tree, nested, with live sums, for the second time."""
    root = _stored(size, user_id)
    root.tree()
    return measured(root.tree)


def site(workflows: int, user_ids: list[int]) -> None:
    """Fill the table with workflows of 20 nodes, owned in turns; one of ten is not settled."""
    owners = f"(ARRAY{user_ids})[1 + mod(n / 20, {len(user_ids)})]"
    is_open = "mod(n / 20, 10) = 0"
    common.rows(
        f"""INSERT INTO {TABLE} (id, uuid, task_id, user_id, parent_id, is_container, node_type,
                task_class, name, is_named, action, subject, phase, state, completed_steps,
                total_steps, attempts, allow_failure, created, modified, settled_at,
                replaced_nesting, tree_id, lft, rght, level)
            SELECT 1 + n, gen_random_uuid(), gen_random_uuid(), {owners},
                CASE WHEN mod(n, 20) > 0 THEN 1 + n - mod(n, 20) END, mod(n, 20) = 0,
                CASE WHEN mod(n, 20) > 0 THEN 'task' ELSE 'group' END, 'task', 'Step', false,
                'course.export', 'course-' || n / 20,
                CASE WHEN {is_open} THEN 'PENDING' ELSE 'SUCCEEDED' END,
                CASE WHEN {is_open} THEN 'Pending' ELSE 'Succeeded' END,
                CASE WHEN {is_open} THEN 0 WHEN mod(n, 20) > 0 THEN 1 ELSE 19 END,
                CASE WHEN mod(n, 20) > 0 THEN 1 ELSE 19 END, 1, false,
                now() - interval '40 days' + n * interval '1 second' / 100,
                now() - interval '40 days',
                CASE WHEN NOT {is_open} THEN now() - interval '40 days' END, 0,
                1 + n - mod(n, 20), (1 + 2 * mod(n, 20)) * 4294967296,
                CASE WHEN mod(n, 20) > 0 THEN (2 + 2 * mod(n, 20)) * 4294967296
                     ELSE 100 * 4294967296 END,
                (mod(n, 20) > 0)::int
            FROM generate_series(0, {workflows * 20 - 1}) n"""
    )
    common.rows(f"SELECT setval('{TABLE}_id_seq', {workflows * 20 + 1000})")
    common.analyze(TABLE)


def listing(user_id: int) -> dict[str, float]:
    """Query a list of 50 workflows."""
    newest = objects.roots().for_user(owner(user_id)).order_by("-created", "-pk")
    return measured(lambda: list(newest[:50]))


def rendered(user_id: int) -> dict[str, float]:
    """Render a list of 50 workflows in the REST API."""
    client = common.client()
    client.force_authenticate(owner(user_id))
    client.get("/tasks/")
    return measured(lambda: client.get("/tasks/").render())


def detail(user_id: int) -> dict[str, float]:
    """Render one workflow in the REST API, with live sums."""
    client = common.client()
    client.force_authenticate(owner(user_id))
    uuid = objects.filter(user_id=user_id, parent=None).values_list("uuid", flat=True)[0]
    client.get(f"/tasks/{uuid}/")
    return measured(lambda: client.get(f"/tasks/{uuid}/").render())


def cancel(size: int, user_id: int) -> dict[str, float]:
    """Cancel a group that waits; count the broadcasts to the workers."""
    root = workflow(common.group_of(size, user_id), user=owner(user_id)).delay()
    status = objects.get(pk=root.pk)
    sent, broadcast = [], current_app.control.broadcast
    current_app.control.broadcast = lambda *a, **k: (sent.append(a), broadcast(*a, **k))
    try:
        used = measured(status.cancel)
    finally:
        current_app.control.broadcast = broadcast
    return {**used, "broadcasts": len(sent)}


def cancel_open(user_id: int) -> dict[str, float]:
    """Cancel one of a site's open workflows."""
    root = objects.active().filter(user_id=user_id, parent=None).order_by("pk").first()
    assert root is not None
    return measured(root.cancel)


def progress(times: int, user_id: int) -> dict[str, float]:
    """Write progress of a running leaf as a worker does, with the roll-up of its tree."""
    tree_id = objects.active().filter(user_id=user_id, parent=None).latest("pk").pk
    node = objects.filter(tree_id=tree_id, node_type=NodeType.TASK).order_by("lft").first()
    run = Execution(node, 1, buffered=True)

    def write() -> None:
        for _ in range(times):
            run.add(completed=1)
            writing.flush(run)
            steps.roll_up(tree_id, every=timedelta(0))

    return measured(write)


def longest_progress(seconds_idle: float, user_id: int) -> float:
    """Write progress again and again for some seconds; return the longest time of one write."""
    root = store_tree(container("group", leaf("s"), name="beside"), user=owner(user_id))
    node = objects.get(parent=root)
    longest, until = 0.0, time.perf_counter() + seconds_idle
    while time.perf_counter() < until:
        begin = time.perf_counter()
        objects.filter(pk=node.pk, settled_at=None).update(completed_steps=1, modified=now())
        longest = max(longest, time.perf_counter() - begin)
        time.sleep(0.005)
    return longest


def purge(workflows: int) -> dict[str, float]:
    """Delete all workflows of a site that are older than 30 days."""
    return measured(lambda: list(deletion.purge(now() - timedelta(days=30))))


def purge_some(workflows: int) -> dict[str, float]:
    """Delete one batch of workflows; return the time for each."""
    used = measured(lambda: next(deletion.purge(now() - timedelta(days=30))))
    return {**used, "seconds": used["seconds"] / BATCH_SIZE * 1000}


def others(count: int) -> list[int]:
    """Create further users; return their ids."""
    users = get_user_model().objects
    return [users.get_or_create(username=f"bench{n}")[0].pk for n in range(count)]
