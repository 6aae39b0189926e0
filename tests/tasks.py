"""Tasks of the test suite; most take any argument and note in ``CALLS`` that their body ran."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Task, shared_task

from user_workflows.tasks import UserTask, UserTaskMixin

#: The tags of the calls whose bodies ran, in order, since a test cleared it.
CALLS: list[str] = []


class Boom(Exception):
    """The exception that failing tasks raise."""


class Named(UserTask):
    """A user task that is named after its ``tag`` and has as many steps as its argument says."""

    abstract = True

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return arguments_dict["tag"] or "untagged"

    @staticmethod
    def calculate_total_steps(arguments_dict: dict[str, Any]) -> int:
        return int(arguments_dict["steps"])


def _act(task: Any, tag: str, do: str, steps: int = 1) -> str:
    CALLS.append(tag)
    if do == "raise":
        raise Boom(f"{tag} went wrong")
    if do == "fail":
        task.status.fail(f"{tag} gave up")
    if do == "retry" and task.request.retries == 0:
        task.status.increment_completed_steps()
        raise task.retry(countdown=0)
    if do == "track":
        for _ in task.track(range(steps)):
            pass
    return tag


@shared_task(bind=True)
def plain(self: Any, *values: Any, tag: str = "", do: str = "succeed") -> str:
    """A plain Celery task."""
    return _act(self, tag, do)


@shared_task(bind=True, base=Named)
def user(self: Any, *values: Any, tag: str = "", do: str = "succeed", steps: int = 1) -> str:
    """A user task for workflows; outside of one it has no user."""
    return _act(self, tag, do, steps)


@shared_task(bind=True, base=Named)
def owned(
    self: Any,
    user_id: Any,
    tag: str = "",
    do: str = "succeed",
    steps: int = 1,
    user_task_name: str = "",
) -> str:
    """A user task in django-user-tasks' way, with its user among the arguments."""
    return _act(self, tag, do, steps)


@shared_task(bind=True, base=Named)
def following(
    self: Any, value: Any, user_id: Any = None, tag: str = "", do: str = "succeed", steps: int = 1
) -> str:
    """A user task that wants the result of the one before it."""
    return _act(self, tag, do, steps)


@shared_task(base=UserTask)
def unnamed(*values: Any, user_task_name: str = "") -> None:
    """A user task that leaves its name to the library."""


@shared_task(base=UserTask)
def strict(first: int, second: int = 2) -> int:
    """A user task that does not take everything."""
    return first + second


class Mute(UserTask):
    """A user task whose ``generate_name`` returns nothing."""

    abstract = True

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return ""


@shared_task(base=Mute)
def mute(*values: Any) -> None:
    """A task without a name."""


class Last(Task, UserTaskMixin):
    """A base class with the mixin last, as sites of django-user-tasks have it."""

    abstract = True


@shared_task(base=Last, bind=True)
def mixed(self: Any, first: int, second: int = 2) -> str:
    """Return the name of its own node."""
    return self.status.name


class ByCourse(UserTask):
    """A user task whose name is made of its arguments."""

    abstract = True

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return f"Export {arguments_dict['course']} as {arguments_dict['form']}"


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a task as sites do; only ``functools.wraps`` still shows its arguments."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@shared_task(base=ByCourse, bind=True)
@decorated
@decorated
def export(self: Any, course: str, form: str = "OLX") -> str:
    """A decorated user task."""
    return form
