"""How long the property tests look: ``HYPOTHESIS_EXAMPLES=1000`` for a thorough, random look."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from hypothesis import HealthCheck, Phase, settings

from tests.helpers import a_user

_examples = os.environ.get("HYPOTHESIS_EXAMPLES")

# Without shrinking, which would run thousands of examples when a test fails: they are small.
settings.register_profile(
    "bounded",
    max_examples=int(_examples or 24),
    deadline=None,
    derandomize=_examples is None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("bounded")


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
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that fail on purpose would be all that is seen of a failed test."""
    caplog.set_level("CRITICAL", "celery.app.trace")
    caplog.set_level("CRITICAL", "user_workflows.tasks")
