"""Fixtures of the unit tests: a user, eager tasks, nobody at the broker's other end."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from celery.signals import after_task_publish

from tests import tasks
from tests.helpers import a_user


@pytest.fixture
def user(db: None) -> Any:
    return a_user()


@pytest.fixture
def eager() -> Iterator[None]:
    """Tasks run where they are sent."""
    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = before


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    """The tags of the tasks whose bodies have run in this test."""
    tasks.CALLS.clear()
    return tasks.CALLS


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """The ids of the tasks that the broker in memory has taken; nobody fetches them there."""
    published: list[str] = []

    def note(headers: Any = None, body: Any = None, **kwargs: Any) -> None:
        published.append((body if isinstance(body, dict) else headers)["id"])

    after_task_publish.connect(note)
    yield published
    after_task_publish.disconnect(note)
    current_app.control.purge()
