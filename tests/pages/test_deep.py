"""A task that sends itself again and again makes a tree of a thousand levels: it is shown, too."""

from typing import Any

import pytest
from django.test import Client

from tests.helpers import assert_tree_is_sound
from tests.pages.reading import address
from tests.rest.conftest import url
from user_workflows import graph
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import spawning, submission
from user_workflows.testing import leaf
from user_workflows.tree import integrity
from user_workflows.tree.locking import tree_lock

LEVELS = 1200


@pytest.fixture
def deep(people: Any) -> UserTaskStatus:
    plan: PlanNode = leaf("the last")
    for at in range(LEVELS):
        plan = PlanNode(
            NodeType.CHAIN, f"deep {at}", name=f"level {at}", total_steps=1,
            task_class="celery.chain", children=[plan],
        )  # fmt: skip
    return submission.store_plan(plan, user_id=people.owner.pk)


def test_a_deep_tree_can_be_stored_renumbered_and_extended(deep: UserTaskStatus) -> None:
    with tree_lock(deep.tree_id):
        integrity.renumber_tree(deep.tree_id)
    last = UserTaskStatus.objects.get(name="the last")
    spawning.attach_subtree(last, leaf("one more"))
    assert_tree_is_sound(deep.tree_id)
    assert len(graph.dependencies(deep.tree())) == 2


@pytest.mark.parametrize("page", ["detail", "graph", "changes", "cancel"])
def test_the_pages_of_a_deep_tree_are_shown(
    page: str, deep: UserTaskStatus, client: Client
) -> None:
    assert client.get(address(deep, page)).status_code == 200


@pytest.mark.parametrize("what", ["detail", "tree", "graph", "failures", "artifacts"])
@pytest.mark.parametrize("query", [{}, {"since": 0}, {"as": "mermaid"}])
def test_the_rest_api_answers_for_a_deep_tree(
    what: str, query: Any, deep: UserTaskStatus, client: Client
) -> None:
    assert client.get(url(deep, what, **query)).status_code == 200
