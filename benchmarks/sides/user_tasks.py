"""django-user-tasks."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.utils.timezone import now
from user_tasks import user_task_stopped
from user_tasks.models import UserTaskStatus
from user_tasks.tasks import purge_old_user_tasks

from .. import tasks
from ..measure import measured
from . import common
from .common import plain, prepare  # noqa: F401

TABLE = "user_tasks_usertaskstatus"
objects = UserTaskStatus.objects


def clear() -> None:
    """Delete what earlier measurements have left."""
    common.empty(TABLE)


def publish(size: int, user_id: int) -> dict[str, float]:
    """Publish a chord."""
    canvas = common.chord_of(size, user_id)
    return measured(canvas.apply_async)


def drain(size: int, user_id: int, seconds: float = 0) -> dict[str, float]:
    """Have a worker run a group."""
    return common.drained(common.group_of(size, user_id, seconds).apply_async)


def increments(times: int, user_id: int) -> float:
    """Count steps in a worker, on a task two levels down."""
    task_id = str(uuid4())
    above = _row("chord", user_id, is_container=True)
    _row(task_id, user_id, parent=_row("group", user_id, parent=above, is_container=True))
    result = tasks.count.apply_async([user_id, times], task_id=task_id)
    return float(common.in_worker(result))


def _row(task_id: str, user_id: int, **fields: Any) -> UserTaskStatus:
    if len(task_id) < 36:
        task_id = f"{task_id}-{uuid4()}"
    return objects.create(
        task_id=task_id, user_id=user_id, name="step", task_class="t", total_steps=1000, **fields
    )


def leaves(size: int, user_id: int) -> list[int]:
    """Store a chord whose tasks are running; return the keys of its leaves."""
    chord = _row("chord", user_id, is_container=True)
    group = _row("group", user_id, parent=chord, is_container=True)
    objects.filter(pk__in=[chord.pk, group.pk]).update(total_steps=size)
    made = objects.bulk_create(
        UserTaskStatus(
            task_id=str(uuid4()), user_id=user_id, parent=group, name="step", task_class="t",
            total_steps=1, state=UserTaskStatus.IN_PROGRESS,
        )
        for _ in range(size)
    )  # fmt: skip
    return [row.pk for row in made]


_mine: list[UserTaskStatus] = []


def take(pks: list[int]) -> None:
    """Read the leaves that this process will end."""
    _mine[:] = objects.filter(pk__in=pks)


def settle(at: float, announced: bool) -> dict[str, Any]:
    """End the leaves as its handler of ``task_success`` does, from the moment ``at``."""
    time.sleep(max(0.0, at - time.time()))
    for status in _mine:
        status.succeed()
        user_task_stopped.send_robust(UserTaskStatus, status=status)
    return {"end": time.time(), "won": {}}


def read(size: int, user_id: int) -> dict[str, float]:
    """Read all nodes below a container as its fields allow: children by children.

    For the second time: the first one warms the caches.
    """
    pks = leaves(size, user_id)
    top = objects.get(pk=pks[0]).parent.parent

    def below(node: UserTaskStatus) -> list[Any]:
        children = objects.filter(parent=node)
        return [(child, below(child) if child.is_container else []) for child in children]

    below(top)
    return measured(lambda: below(top))


def site(workflows: int, user_ids: list[int]) -> None:
    """Fill the table with workflows of 20 nodes, owned in turns."""
    owners = f"(ARRAY{user_ids})[1 + mod(n / 20, {len(user_ids)})]"
    common.rows(
        f"""INSERT INTO {TABLE} (id, created, modified, uuid, task_id, user_id, parent_id,
                is_container, task_class, name, state, completed_steps, total_steps, attempts)
            SELECT 1 + n, now() - interval '40 days' + n * interval '1 second',
                now() - interval '40 days', gen_random_uuid(), gen_random_uuid(), {owners},
                CASE WHEN mod(n, 20) > 0 THEN 1 + n - mod(n, 20) END, mod(n, 20) = 0,
                'task', 'Step', 'Succeeded', 1, 1, 1
            FROM generate_series(0, {workflows * 20 - 1}) n"""
    )
    common.rows(f"SELECT setval('{TABLE}_id_seq', {workflows * 20 + 1000})")
    common.analyze(TABLE)


def listing(user_id: int) -> dict[str, float]:
    """Query a list of 50 workflows."""
    newest = objects.filter(user=user_id, parent=None).order_by("-created")
    return measured(lambda: list(newest[:50]))


def rendered(user_id: int) -> dict[str, float]:
    """Render a list of 50 nodes in its REST API, which lists no workflows."""
    client = common.client()
    user = get_user_model().objects.get(pk=user_id)
    user.is_superuser = True  # Its permissions are given by the site's rules.
    client.force_authenticate(user)
    client.get("/tasks/")
    return measured(lambda: client.get("/tasks/").render())


def cancel(size: int, user_id: int) -> dict[str, float]:
    """Cancel a group that waits."""
    result = common.group_of(size, user_id).apply_async()
    return measured(objects.get(task_id=result.id).cancel)


def purge(workflows: int) -> dict[str, float]:
    """Delete all workflows of a site."""
    assert now() - timedelta(days=30) > objects.earliest("created").created
    return measured(purge_old_user_tasks)
