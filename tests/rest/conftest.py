"""A user with a workflow, others who must not know of it, and clients of each."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from rest_framework.test import APIClient

from tests.helpers import a_user
from user_workflows.models import UserTaskStatus
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf


@pytest.fixture
def people(db: None) -> Any:
    staff = a_user("staff")
    staff.is_staff = True
    staff.save()
    staff.user_permissions.add(*Permission.objects.filter(codename__startswith="view_usertask"))
    return SimpleNamespace(owner=a_user("owner"), other=a_user("other"), staff=staff)


@pytest.fixture
def client_of() -> Callable[[Any], APIClient]:
    def made(user: Any) -> APIClient:
        client = APIClient()
        if user is not None:
            client.force_authenticate(user)
        return client

    return made


def export(user: Any, **columns: Any) -> UserTaskStatus:
    """chain(read, group(chain(render 1, pack 1), chain(render 2, pack 2)), notify)"""
    chapters = [
        container(
            "chain", leaf(f"render {i}", total_steps=3), leaf(f"pack {i}"), name=f"chapter {i}"
        )
        for i in (1, 2)
    ]
    plan = container(
        "chain", leaf("read"), container("group", *chapters, name="chapters"), leaf("notify"),
        name="Secret export",
    )  # fmt: skip
    return submission.store_plan(plan, user_id=user.pk, action="course.export", **columns)


@pytest.fixture
def root(people: Any) -> UserTaskStatus:
    return export(people.owner, subject="CS101")


def part(root: UserTaskStatus, name: str) -> UserTaskStatus:
    """A node of the workflow by its name."""
    return UserTaskStatus.objects.get(tree_id=root.pk, name=name)


def url(node: UserTaskStatus, what: str = "detail", **query: Any) -> str:
    address = reverse(f"usertaskstatus-{what}", args=[node.uuid])
    return address + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
