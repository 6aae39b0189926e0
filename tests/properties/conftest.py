"""How long the property tests look: ``HYPOTHESIS_EXAMPLES=1000`` for a thorough, random look."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.helpers import a_user
from user_workflows.testing import run_eagerly

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
    """Run tasks where they are sent."""
    with run_eagerly():
        yield


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Hide the log of tasks that fail on purpose, which would be all that a failed test shows."""
    caplog.set_level("CRITICAL", "celery.app.trace")
    caplog.set_level("CRITICAL", "user_workflows.tasks")
