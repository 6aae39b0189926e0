"""What sites on django-user-tasks do with it, line by line as they have it, works here.

Subclassing the views and serializers, and calling the filters, is in ``tests/rest``; foreign keys
from other apps are in ``tests/moving``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import shared_task

import user_workflows
from user_workflows import signals
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.tasks import UserTask


class Exporting(UserTask):
    """As in Open edX: named after an argument."""

    abstract = True

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return f"Export of {arguments_dict['course']}"


@shared_task(base=Exporting, bind=True)
def export(self: Any, user_id: int, course: str) -> None:
    if course == "broken":
        self.status.fail({"raw_error_msg": "No ink.", "edit_url": "/edit"})
        return
    self.status.set_state("Exporting")
    UserTaskArtifact(status=self.status, name="Output", text="done").save()
    self.status.succeed()


@pytest.mark.django_db(transaction=True)
def test_the_status_is_there_right_after_delay(user: Any, sent: list[str]) -> None:
    result = export.delay(user.pk, "CS101")
    status = UserTaskStatus.objects.get(task_id=result.id)
    assert (status.name, status.state) == ("Export of CS101", "Pending")
    assert status.task_id in sent


@pytest.mark.django_db
def test_fail_takes_data(user: Any, eager: None) -> None:
    result = export.delay(user.pk, "broken")
    status = UserTaskStatus.objects.get(task_id=result.id)
    assert (status.state, status.is_settled) == (UserTaskStatus.FAILED, True)
    text = UserTaskArtifact.objects.filter(status=status, name="Error").get().text
    assert json.loads(text) == {"raw_error_msg": "No ink.", "edit_url": "/edit"}


@pytest.mark.django_db
def test_succeed_in_the_body(user: Any, eager: None) -> None:
    result = export.delay(user.pk, "CS101")
    status = UserTaskStatus.objects.get(task_id=result.id)
    assert (status.state, status.completed_steps) == (UserTaskStatus.SUCCEEDED, 1)
    assert UserTaskArtifact.objects.get(status=status, name="Output").text == "done"


@pytest.mark.django_db
def test_statuses_are_found_by_how_their_names_begin(user: Any, eager: None) -> None:
    for course in ("CS101", "CS102", "Knots"):
        export.delay(user.pk, course)
    found = UserTaskStatus.objects.filter(name__startswith="Export of CS", user=user)
    assert [n.name for n in found.order_by("-created")] == ["Export of CS102", "Export of CS101"]
    assert found.latest("created").name == "Export of CS102"


@pytest.mark.django_db
def test_the_signal_is_the_same_in_both_places(user: Any, eager: None) -> None:
    assert user_workflows.user_task_stopped is signals.user_task_stopped
    heard: list[str] = []

    def stopped(sender: Any, status: UserTaskStatus, **kwargs: Any) -> None:
        if status.state != UserTaskStatus.FAILED and not status.parent:
            heard.append(status.name)

    signals.user_task_stopped.connect(stopped)
    try:
        export.delay(user.pk, "CS101")
        export.delay(user.pk, "broken")
    finally:
        signals.user_task_stopped.disconnect(stopped)
    assert heard == ["Export of CS101"]


def test_the_modules_have_the_names_of_django_user_tasks() -> None:
    from user_workflows import admin, apps, conf, exceptions, filters, rules, serializers, urls
    from user_workflows import views as views_module

    names = {
        admin: ["UserTaskArtifactAdmin", "UserTaskStatusAdmin"],
        apps: ["UserTasksConfig"],
        conf: ["settings", "get_storage", "LazySettings"],
        exceptions: ["TaskCanceledException"],
        filters: ["ArtifactFilterBackend", "StatusFilterBackend"],
        rules: [
            "add_rules", "is_status_creator", "is_artifact_creator",
            "STATUS_PERMISSION", "ARTIFACT_PERMISSION",
        ],
        serializers: ["ArtifactSerializer", "StatusSerializer"],
        signals: ["create_user_task", "start_user_task", "task_failed", "retrying_task",
                  "task_succeeded", "user_task_stopped"],
        user_workflows.tasks: ["UserTask", "UserTaskMixin", "purge_old_user_tasks"],
        urls: ["ROUTER", "urlpatterns"],
        views_module: [
            "ArtifactViewSet", "StatusViewSet", "DjangoObjectPermissionsIncludingView",
        ],
    }  # fmt: skip
    missing = [(m.__name__, n) for m, ns in names.items() for n in ns if not hasattr(m, n)]
    assert missing == []
