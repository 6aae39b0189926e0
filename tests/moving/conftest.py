"""Rows as django-user-tasks makes them itself: by publishing its tasks, and by its methods."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, chord, current_app, group
from django.utils.timezone import now
from user_tasks.models import UserTaskArtifact, UserTaskStatus

from tests.helpers import a_user
from tests.moving.tasks import old


@pytest.fixture(autouse=True)
def nobody_works() -> Iterator[None]:
    """What was published stays in memory, and is forgotten."""
    yield
    current_app.control.purge()


@pytest.fixture
def user(db: None) -> Any:
    return a_user()


def one(user: Any, name: str = "one") -> UserTaskStatus:
    old.delay(user.pk, name=name)
    return UserTaskStatus.objects.get(name=name)


def a_chain(user: Any, *names: str, name: str = "chain") -> UserTaskStatus:
    chain(*[old.si(user.pk, name=each, user_task_name=name) for each in names]).delay()
    return UserTaskStatus.objects.get(task_class="celery.chain", name=name)


def a_group(user: Any, *names: str, name: str = "group") -> UserTaskStatus:
    group(*[old.si(user.pk, name=each, user_task_name=name) for each in names]).delay()
    return UserTaskStatus.objects.get(task_class="celery.group", name=name)


def a_chord(user: Any, *names: str, body: str, name: str = "chord") -> UserTaskStatus:
    header = [old.si(user.pk, name=each, user_task_name=name) for each in names]
    chord(header, old.si(user.pk, name=body)).delay()
    return UserTaskStatus.objects.get(task_class="celery.chord", name=name)


def task(name: str) -> UserTaskStatus:
    """The old status of a task, by its name."""
    return UserTaskStatus.objects.get(name=name, is_container=False)


def end(*names: str) -> None:
    """These tasks run, and succeed."""
    for name in names:
        task(name).start()
        task(name).succeed()


def past(days: float = 2) -> None:
    """All that the old tables have was stored so long ago."""
    then = now() - timedelta(days=days)
    UserTaskStatus.objects.update(created=then, modified=then)
    UserTaskArtifact.objects.update(created=then, modified=then)
