"""A workflow is deleted over HTTP while its tasks are at work, stopped before each statement."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

import pytest
from django.db import IntegrityError
from django.test import Client
from django.utils.timezone import now
from rest_framework.test import APIClient

from user_workflows.lifecycle import containers, transitions
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf

from .interleaving import MANY, Between, interrupted
from .planned import by_name, stored

Act = Callable[[UserTaskStatus], object]


def grow(status: UserTaskStatus) -> None:
    spawning.attach_subtree(status, container("group", leaf("more"), leaf("and more"), name="sent"))


def leave(status: UserTaskStatus) -> None:
    status.add_artifact("Page", text="x")


def finish(status: UserTaskStatus) -> None:
    transitions.settle(status, Phase.SUCCEEDED, attempt=1)


def fail(status: UserTaskStatus) -> None:
    transitions.settle(status, Phase.FAILED, message="No ink.", attempt=1)


def delete(status: UserTaskStatus) -> None:
    request(UserTaskStatus.objects.get(pk=status.tree_id))


def note(codes: list[int], root: UserTaskStatus) -> None:
    codes.append(request(root))


def request(root: UserTaskStatus) -> int:
    client = APIClient()
    client.force_authenticate(root.user)
    return int(client.delete(f"/api/tasks/{root.uuid}/").status_code)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", [finish, fail])
def test_ending_a_task_of_a_workflow_that_is_being_deleted_raises_nothing(act: Act) -> None:
    for at in range(MANY):
        root = stored(container("chain", leaf("a"), leaf("b"), name="chain"))
        status = by_name(root)["a"]
        transitions.begin(status, 1)
        rows = UserTaskStatus.objects.filter(tree_id=root.pk)
        if not interrupted(partial(act, status), rows.delete, at, Between):
            break
    rows.delete()
    assert containers.settle_ancestors(root.pk) == []


@pytest.mark.parametrize("act", [grow, leave, finish, fail, delete])
def test_a_workflow_whose_tasks_go_on_meanwhile_is_deleted_as_a_whole(
    act: Act, server: str
) -> None:
    for at in range(MANY):
        root = stored(container("chain", leaf("a"), leaf("b"), name="chain"))
        status = by_name(root)["a"]
        transitions.begin(status, 1)

        def beside(status: UserTaskStatus = status) -> None:
            with suppress(IntegrityError, UserTaskStatus.DoesNotExist):  # The node is gone.
                act(status)

        codes: list[int] = []
        reached = interrupted(partial(note, codes, root), beside, at)
        assert codes in ([204], [404]), at
        assert not UserTaskStatus.objects.exists(), at
        assert not UserTaskArtifact.objects.exists(), at
        if not reached:
            assert at > 5
            return
    pytest.fail("It had more statements than were tried.")


def test_late_events_do_not_keep_a_page_from_deleting_a_workflow(server: str) -> None:
    for at in range(MANY):
        root = stored(container("chain", leaf("a"), leaf("b"), name="chain"))
        status = by_name(root)["a"]
        UserTaskStatus.objects.update(settled_at=now(), phase=Phase.FAILED)  # As by the reaper.
        client = Client()
        client.force_login(root.user)

        def beside(status: UserTaskStatus = status) -> None:
            with suppress(IntegrityError, UserTaskStatus.DoesNotExist):  # The node is gone.
                leave(status)

        codes: list[int] = []

        def post(client: Client = client, codes: list[int] = codes, uuid: UUID = root.uuid) -> None:
            codes.append(client.post(f"/tasks/{uuid}/delete/").status_code)

        reached = interrupted(post, beside, at)
        assert codes == [302], at
        assert not UserTaskStatus.objects.exists() and not UserTaskArtifact.objects.exists(), at
        if not reached:
            assert at > 5
            return
    pytest.fail("It had more statements than were tried.")
