"""Workflows as their users find them: half-way, failed, canceled, large, and odd ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils.timezone import now

from tests.helpers import a_user
from user_workflows.lifecycle import containers, steps, transitions
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf

CHAPTERS = ("Getting started", "Eyes in the dark", "The Moon", "Planets", "Deep sky")


def stored(plan: PlanNode, user: Any = None, **columns: Any) -> UserTaskStatus:
    """Store a plan; return its root."""
    return submission.store_plan(plan, user_id=(user or a_user()).pk, **columns)


def export(user: Any = None, *, chapters: Iterable[str] = CHAPTERS) -> UserTaskStatus:
    """chain(read, chord(group(chain(render, check, pack), ...), assemble), notify): not started."""
    parts = [
        container(
            "chain",
            leaf(f"Render {name}", total_steps=6),
            leaf(f"Check links of {name}", total_steps=2),
            leaf(f"Pack {name}", total_steps=1),
            name=name,
        )
        for name in chapters
    ]
    plan = container(
        "chain",
        leaf("Read the course", total_steps=3),
        container(
            "chord",
            container("group", *parts, name="Chapters"),
            leaf("Assemble the archive", total_steps=4),
            name="Export chapters",
        ),
        leaf("Notify"),
        name="Export Watching the Night Sky",
    )
    return stored(plan, user, action="course.export", subject="course-v1:DemoX+SKY101+2026")


def many(count: int, user: Any = None, *, size: int = 1) -> UserTaskStatus:
    """chain(prepare, group of ``count`` tasks or chains of ``size``, report)."""
    members = [
        leaf(f"Mail {i}")
        if size == 1
        else container("chain", *(leaf(f"Part {i}.{j}") for j in range(size)), name=f"Batch {i}")
        for i in range(count)
    ]
    plan = container(
        "chain",
        leaf("Prepare"),
        container("group", *members, name="Mail all students"),
        leaf("Report"),
        name="Newsletter to all students",
    )
    return stored(plan, user, action="mail", subject="SKY101")


def part(root: UserTaskStatus, name: str) -> UserTaskStatus:
    """A node of a workflow by its name."""
    return UserTaskStatus.objects.get(tree_id=root.tree_id, name=name)


def begin(root: UserTaskStatus, *names: str, ago: float = 0, done: int = 0) -> None:
    """Workers start these tasks, and have done some steps."""
    for name in names:
        task = part(root, name)
        at = now() - timedelta(seconds=ago)
        transitions.begin(task, 1, last_seen_at=now())
        containers.mark_running(task.parent_id)
        rows = UserTaskStatus.objects.filter(pk=task.pk)
        rows.update(started_at=at, completed_steps=done)
        above = UserTaskStatus.objects.filter(
            tree_id=root.tree_id, lft__lt=task.lft, rght__gt=task.rght, started_at__gt=at
        )
        above.update(started_at=at)


def end(
    root: UserTaskStatus, *names: str, phase: Phase = Phase.SUCCEEDED, message: str = ""
) -> None:
    """These tasks end."""
    for name in names:
        task = part(root, name)
        if phase is Phase.SUCCEEDED:
            rows = UserTaskStatus.objects.filter(pk=task.pk)
            rows.update(completed_steps=F("total_steps"))
            task.refresh_from_db()
        transitions.settle(task, phase, message=message)
    steps.roll_up(root.tree_id, every=timedelta(0))


def pages_of(root: UserTaskStatus) -> UserTaskStatus:
    """The same workflow with fresh columns."""
    return UserTaskStatus.objects.get(pk=root.pk)


def midway(user: Any = None) -> UserTaskStatus:
    """Two chapters done, two running, results there."""
    root = export(user)
    begin(root, "Read the course", ago=95)
    end(root, "Read the course")
    for name in CHAPTERS[:2]:
        for task, took in (
            (f"Render {name}", 19),
            (f"Check links of {name}", 7),
            (f"Pack {name}", 2),
        ):
            begin(root, task, ago=took)
            end(root, task)
        part(root, f"Pack {name}").add_artifact(f"{name}.html", url="https://example.com/chapter")
    begin(root, "Render The Moon", ago=31, done=4)
    begin(root, "Render Planets", ago=12, done=2)
    part(root, "Read the course").add_artifact(
        "Table of contents", text="\n".join(f"{i}. {c}" for i, c in enumerate(CHAPTERS, 1))
    )
    steps.roll_up(root.tree_id, every=timedelta(0))
    return pages_of(root)


def failed(user: Any = None) -> UserTaskStatus:
    """One chapter fails while another still runs; one check was allowed to fail."""
    root = midway(user)
    UserTaskStatus.objects.filter(pk=part(root, "Check links of The Moon").pk).update(
        allow_failure=True
    )
    end(root, "Render The Moon")
    begin(root, "Check links of The Moon")
    message = "3 links are dead: nasa.gov/old, esa.int/moon-2019, example.org/craters"
    end(root, "Check links of The Moon", phase=Phase.FAILED, message=message)
    message = (
        "html/planets-text.html is missing from the course.\n"
        "Add the file, or remove the block “The outer planets” from the unit."
    )
    end(root, "Render Planets", phase=Phase.FAILED, message=message)
    begin(root, "Pack The Moon", "Render Deep sky", ago=4, done=1)
    return pages_of(root)


def canceled(user: Any = None) -> UserTaskStatus:
    """Canceled; one task has not stopped yet."""
    root = midway(user)
    root.cancel()
    return pages_of(root)


def settled(root: UserTaskStatus, phase: Phase = Phase.SUCCEEDED) -> UserTaskStatus:
    """All tasks of a workflow end, in order."""
    leaves = UserTaskStatus.objects.filter(
        tree_id=root.tree_id, node_type=NodeType.TASK, settled_at__isnull=True
    )
    for name in leaves.order_by("lft").values_list("name", flat=True):
        begin(root, name)
        end(root, name, phase=phase)
    return pages_of(root)


def large(user: Any = None, count: int = 10_000) -> UserTaskStatus:
    """A mailing of which a part is done, some have failed and a few run."""
    root = many(count, user)
    begin(root, "Prepare", ago=400)
    end(root, "Prepare")
    group = part(root, "Mail all students")
    at = now() - timedelta(seconds=300)
    UserTaskStatus.objects.filter(pk=group.pk).update(
        phase=Phase.RUNNING, state=Phase.RUNNING.state, started_at=at
    )
    mails = UserTaskStatus.objects.filter(parent=group).order_by("lft")
    done = list(mails.values_list("pk", flat=True))[: count * 46 // 100]
    for start in range(0, len(done), 500):
        UserTaskStatus.objects.filter(pk__in=done[start : start + 500]).update(
            phase=Phase.SUCCEEDED, state=Phase.SUCCEEDED.state, completed_steps=1,
            started_at=at, settled_at=now(),
        )  # fmt: skip
    bad = done[7::900]
    UserTaskStatus.objects.filter(pk__in=bad).update(
        phase=Phase.FAILED, state=Phase.FAILED.state, completed_steps=0, allow_failure=True
    )
    for task in UserTaskStatus.objects.filter(pk__in=bad):
        task.add_artifact("Error", text="550 mailbox unavailable")
    UserTaskStatus.objects.filter(pk__in=done[11:14]).update(
        phase=Phase.RUNNING, state=Phase.RUNNING.state, completed_steps=0, settled_at=None,
        started_at=now() - timedelta(seconds=2), last_seen_at=now(),
    )  # fmt: skip
    steps.roll_up(root.tree_id, every=timedelta(0))
    return pages_of(root)
