"""Rows of other apps that refer to workflows: deleting and purging heed what they ask for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils.timezone import now
from rest_framework.test import APIClient

from tests.helpers import a_user
from tests.moving.conftest import one
from tests.moving.models import Export, Protecting, Restricting
from user_workflows.maintenance.deletion import purge
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db(transaction=True)


def aged(name: str) -> UserTaskStatus:
    root = submission.store_plan(
        container("chain", leaf(f"{name} 1"), name=name), user_id=a_user().pk
    )
    child = UserTaskStatus.objects.get(parent=root)
    child.add_artifact(file=ContentFile(name.encode(), name="a.txt"))
    then = now() - timedelta(days=9)
    UserTaskStatus.objects.filter(tree_id=root.pk).update(created=then, modified=then)
    return root


def child(root: UserTaskStatus) -> UserTaskStatus:
    return UserTaskStatus.objects.get(parent=root)


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def protect(kind: str, root: UserTaskStatus) -> None:
    if kind == "root":
        Protecting.objects.create(status=root)
    elif kind == "child":
        Protecting.objects.create(status=child(root))
    elif kind == "artifact":
        Protecting.objects.create(artifact=child(root).artifacts.get())
    else:
        Restricting.objects.create(status=child(root))


KINDS = ["root", "child", "artifact", "restricted"]


@pytest.mark.parametrize("kind", KINDS)
def test_purging_reports_protected_trees_and_deletes_the_others(
    kind: str, media: Path, user: Any
) -> None:
    gone, needed, also_gone = aged("gone"), aged("needed"), aged("also gone")
    export = Export.objects.create(task=one(user), workflow=gone)
    protect(kind, needed)
    [part] = purge(now() - timedelta(days=1))
    assert (part.workflows, part.nodes, part.artifacts) == (2, 4, 2)
    assert part.protected == [needed.uuid]
    assert list(UserTaskStatus.objects.roots()) == [needed]
    assert UserTaskArtifact.objects.count() == 1
    assert [path.read_text() for path in media.rglob("*.txt")] == ["needed"]
    assert not Export.objects.filter(pk=export.pk).exists()  # It asks for CASCADE.
    assert also_gone.pk


@pytest.mark.parametrize("kind", KINDS)
def test_deleting_a_protected_workflow_neither_deletes_nor_cancels_it(
    kind: str, media: Path, user: Any
) -> None:
    root = aged("needed")
    protect(kind, root)
    client = APIClient()
    client.force_authenticate(root.user)
    assert client.delete(f"/api/tasks/{root.uuid}/").status_code == 409
    root.refresh_from_db()
    assert (root.phase, root.is_active) == (Phase.PENDING, True)
    assert child(root).phase == Phase.PENDING
