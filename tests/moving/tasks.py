"""Tasks of a site that is on its way: some of django-user-tasks, some of this app."""

from typing import Any

from celery import shared_task
from user_tasks.tasks import UserTask as OldUserTask

from user_workflows.tasks import UserTask


class Named(OldUserTask):
    """Called as it is told, with two steps."""

    abstract = True

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return str(arguments_dict["name"])

    @staticmethod
    def calculate_total_steps(arguments_dict: dict[str, Any]) -> int:
        return 2


@shared_task(base=Named, bind=True)
def old(self: Any, user_id: int, name: str = "", **kwargs: Any) -> None:
    """A task of django-user-tasks."""


@shared_task(base=UserTask, bind=True)
def new(self: Any, user_id: int, name: str = "") -> None:
    """The same after the search-and-replace."""
