"""Workers, each started once for all tests that use its kind, and the database they share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection

from tests.acceptance.harness import Worker
from user_workflows.models import UserTaskStatus

KINDS: dict[str, dict[str, Any]] = {
    "prefork": {},
    "threads": {"pool": "threads"},
    "solo": {"pool": "solo"},
    "protocol-1": {"protocol": 1},
    "no-database": {
        "environment": {
            "TEST_DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere",
            "ACCEPTANCE_IMPATIENT": "1",
        }
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Shows the end of the worker's log under a test that failed."""
    report = yield
    worker = getattr(item, "funcargs", {}).get("worker")
    if report.failed and worker is not None:
        report.sections.append(("worker", worker.tail()))
    return report


@pytest.fixture(scope="package")
def db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's: everything is committed, because workers are to see it."""
    if str(settings.CELERY_BROKER_URL).startswith("memory"):
        pytest.fail("Real workers need TEST_BROKER_URL and TEST_RESULT_BACKEND.")
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        pytest.fail("Real workers need a TEST_DATABASE_URL that several processes can use.")
    with django_db_blocker.unblock():
        yield
        UserTaskStatus.objects.all().delete()
        get_user_model().objects.filter(username="acceptance").delete()
        connection.close()


@pytest.fixture(scope="package")
def workers(
    db: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Worker]]:
    """Gives the worker of a kind, started when it is first asked for."""
    started: dict[str, Worker] = {}

    def get(kind: str) -> Worker:
        if kind not in started:
            directory = tmp_path_factory.mktemp(kind)
            started[kind] = worker = Worker(kind, directory, **KINDS[kind])
            worker.start()
        return started[kind]

    yield get
    for worker in started.values():
        worker.ask_to_stop()
    for worker in started.values():
        worker.stop()


@pytest.fixture
def worker(request: pytest.FixtureRequest, workers: Callable[[str], Worker]) -> Iterator[Worker]:
    """The worker that this test sends to; its kind may be given by indirect parameters."""
    worker = workers(getattr(request, "param", "prefork"))
    before = _state.get_current_app()
    worker.app.set_current()
    yield worker
    before.set_current()


@pytest.fixture
def private(db: None, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Makes workers that a test may kill, and sends to the first of them."""
    made: list[Worker] = []

    def make(name: str = "private", **options: Any) -> Worker:
        directory = made[0].directory if made else tmp_path
        worker = Worker(name, directory, **options)
        if made:
            worker.queue = made[0].queue
            worker.log = tmp_path / f"{name}.log"
        else:
            worker.app.set_current()
        worker.start()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.ask_to_stop()
    for worker in made:
        worker.stop()


@pytest.fixture
def user(db: None) -> Any:
    return get_user_model().objects.get_or_create(username="acceptance")[0]
