"""Base classes of tasks whose progress their users see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from inspect import getattr_static, signature
from time import monotonic
from typing import Any, TypeVar

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject, Retry
from django.utils.timezone import now

from .conf import settings
from .db.connections import status_connection
from .exceptions import TaskCanceledException
from .lifecycle import progress, transitions
from .maintenance.deletion import purge
from .maintenance.reaper import reap
from .models import UserTaskStatus
from .phases import Phase
from .queues.celery.context import execution_of, request_state
from .queues.celery.recording import error_message

logger = logging.getLogger(__name__)

T = TypeVar("T")
_parameters = lru_cache(maxsize=1000)(signature)


class UserTaskMixin:
    """Mixin that makes a Celery task a user task: its body has ``self.status``, ``self.track()``.

    Within ``workflow()`` the user is the workflow's; a user task sent by itself takes a
    ``user_id`` argument. The mixin may stand last: ``class T(Task, UserTaskMixin)``.
    """

    #: Whether workflows go on when this task fails.
    allow_failure = False
    #: Tells user tasks from all others, where this module cannot be imported.
    is_tracked_by_user_workflows = True

    request: Any  # A property of ``Task``, beside which this class may stand.
    run: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__call__ is Task.__call__:
            cls.__call__ = UserTaskMixin._call  # type: ignore[method-assign]

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body. Where the task may fail, record a failure and return None."""
        if getattr(self.request, "called_directly", True):
            return Task.__call__(self, *args, **kwargs)  # type: ignore[arg-type]
        try:
            return self.run(*args, **kwargs)
        except (Retry, Ignore, Reject, TaskCanceledException):
            raise
        except Exception as error:
            run = execution_of(self.request)
            if run is None or not run.node.allow_failure:
                raise
            ids = {"task_id": self.request.id, "node": run.pk, "tree": run.tree_id}
            message = "%s[%s] (node %s, tree %s) has failed, as it may: its workflow goes on."
            name = getattr(self, "name", "")
            logger.warning(message, name, *ids.values(), exc_info=True, extra=ids)
            transitions.change_phase(self.status, Phase.FAILED, message=error_message(error))
            return None

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        """Return the name that the user reads; by default the name of the function."""
        return cls.__name__.rsplit(".", maxsplit=1)[-1]

    @staticmethod
    def calculate_total_steps(arguments_dict: dict[str, Any]) -> int:
        """Return how many steps the call will have; by default 1."""
        return 1

    @classmethod
    def arguments_as_dict(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of a call by name, with defaults, also under ``wraps`` decorators.

        Raises:
            TypeError: the task cannot be called like this.
        """
        run = getattr_static(cls, "run")
        if isinstance(run, staticmethod):
            bound = _parameters(run.__func__).bind(*args, **kwargs)
        else:
            bound = _parameters(run).bind(None, *args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    @property
    def status(self) -> UserTaskStatus:
        """The node of the call that is running.

        In a worker the instance is refreshed every 0.5 s. Where the node was deleted, an instance
        that is stored nowhere takes its place.
        """
        state, task_id = request_state(self.request), self.request.id
        run, status = state.execution, state.status
        if status is not None and run is not None and run.buffered:
            if monotonic() - state.status_read_at >= progress.WRITE_INTERVAL:
                if not status_connection().in_atomic_block and progress.try_to_flush(run):
                    transitions.refresh_instance(status)
                state.status_read_at = monotonic()
            return status
        status = UserTaskStatus.objects.filter(task_id=task_id).first()
        if status is None:
            status = UserTaskStatus(task_id=task_id or "", name=type(self).__name__, total_steps=1)
        state.status, state.status_read_at = status, monotonic()
        return status

    def track(
        self, iterable: Iterable[T], total: int | None = None, description: str = ""
    ) -> Iterator[T]:
        """Yield the items of ``iterable``, and count a step when each is done with.

        Costs no query an item: what was counted is written every 0.5 s and at the end, also
        when the loop is left early. ``total`` is the number of items, where ``len(iterable)`` does
        not say; the task's total grows if its ``calculate_total_steps`` gave fewer.
        ``description`` is shown as the task's state meanwhile.

        Raises:
            TaskCanceledException: the task was canceled.
        """
        status = self.status
        if description:
            status.set_state(description)
        return progress.track(status, iterable, total)


class UserTask(Task, UserTaskMixin):  # type: ignore[type-arg]
    """Abstract base class of user tasks: see ``UserTaskMixin``."""

    abstract = True


@shared_task
def purge_old_user_tasks() -> int:
    """Delete the workflows that were last changed before ``USER_WORKFLOWS_MAX_AGE``.

    With them go their artifacts and the files of those. What runs is left alone, and so is what
    rows of other apps protect. Return how many nodes and artifacts were deleted.
    """
    return sum(part.nodes + part.artifacts for part in purge(now() - settings.MAX_AGE))


@shared_task
def reap_lost_user_tasks() -> dict[str, int]:
    """Find what workers, brokers and processes have lost: see ``maintenance.reaper``.

    Run it each minute. Return how many things of each kind were found.
    """
    report = reap()
    return {name: len(getattr(report, name)) for name in report.__dataclass_fields__}


#: ``purge_old_user_tasks`` by the name that replacing ``user_tasks`` in a site's code gives it.
purge_old_user_workflows = shared_task(name="user_workflows.tasks.purge_old_user_workflows")(
    purge_old_user_tasks.run
)
