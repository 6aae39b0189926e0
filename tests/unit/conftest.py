"""Fixtures of the unit tests: a user, eager tasks, a broker without a worker."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from celery.signals import after_task_publish

from tests import tasks
from tests.helpers import a_user
from tests.unit.writers import PausedWriter
from user_workflows.lifecycle import progress
from user_workflows.testing import run_eagerly


@pytest.fixture
def user(db: None) -> Any:
    return a_user()


@pytest.fixture
def eager() -> Iterator[None]:
    """Run tasks where they are sent."""
    with run_eagerly():
        yield


@pytest.fixture(autouse=True)
def writer() -> Iterator[PausedWriter]:
    """Leave out the thread that writes progress: it would meet the nodes of other tests."""
    with progress.use_writer(PausedWriter()) as writer:
        yield writer


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    """Return the tags of the tasks whose bodies run in this test."""
    tasks.CALLS.clear()
    return tasks.CALLS


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """Return the ids of the tasks that are sent; no worker runs them."""
    published: list[str] = []

    def note(headers: Any = None, body: Any = None, **kwargs: Any) -> None:
        published.append((body if isinstance(body, dict) else headers)["id"])

    after_task_publish.connect(note)
    yield published
    after_task_publish.disconnect(note)
    current_app.control.purge()
