"""The number of queries of a request does not depend on the size of the workflow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import queries
from tests.rest.conftest import url
from tests.rest.test_answers import LIST
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf

#: Beside those of authentication. A detail: the node, its tree, its counts, its artifacts.
QUERIES = {
    "detail": 4, "tree": 3, "artifacts": 3, "archive": 3, "failures": 3, "graph": 2,
    LIST: 2, LIST + "?all=1": 2, "/api/artifacts/": 1,
}  # fmt: skip


def mailing(user: Any, size: int) -> UserTaskStatus:
    letters = [leaf(f"{user.pk} {size} {i}") for i in range(size)]
    plan = container("chain", container("group", *letters, name="letters"), name=f"mailing {size}")
    root = submission.store_plan(plan, user_id=user.pk)
    nodes = UserTaskStatus.objects.filter(tree_id=root.pk)
    nodes.filter(node_type="task").update(phase=Phase.FAILED)
    UserTaskArtifact.objects.bulk_create(
        UserTaskArtifact(status=each, name="Error", text="x") for each in nodes
    )
    return root


@pytest.mark.parametrize("what", QUERIES)
def test_the_queries_of_a_request_do_not_grow_with_the_workflow(
    what: str, people: Any, client_of: Any
) -> None:
    client = client_of(people.owner)
    for size in (2, 60):
        root = mailing(people.owner, size)
        with queries(QUERIES[what]):
            answer = client.get(what if what.startswith("/") else url(root, what))
            answer.getvalue()
        assert answer.status_code == 200


def test_the_queries_to_cancel_and_delete_do_not_grow_with_the_workflow(
    people: Any, client_of: Any
) -> None:
    client = client_of(people.owner)
    counts = []
    for size in (2, 60):
        root = mailing(people.owner, size)
        UserTaskStatus.objects.filter(tree_id=root.pk).update(phase=Phase.PENDING)
        with queries() as canceling:
            assert client.post(url(root, "cancel")).status_code == 200
        with queries() as deleting:
            assert client.delete(url(root)).status_code == 204
        counts.append((len(canceling), len(deleting)))
    assert counts[0] == counts[1]
    assert counts[0][0] <= 30
