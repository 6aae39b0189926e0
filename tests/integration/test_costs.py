"""How many queries each operation takes, and that PostgreSQL answers them by an index."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now

from tests import tasks
from tests.helpers import queries
from user_workflows.lifecycle import containers, execution, steps, transitions
from user_workflows.maintenance import reaper
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.queues.celery import gate, handlers, submission
from user_workflows.testing import container, leaf
from user_workflows.tree.nodes import read_tree

from .planned import by_name, group_of, nested, stored

objects = UserTaskStatus.objects


@pytest.fixture
def wide(db: None) -> UserTaskStatus:
    """A group of 1,000, of which one has started and none has ended."""
    root = stored(group_of(1000))
    first = objects.filter(parent=root).order_by("lft")[0]
    transitions.begin(first, 1, last_seen_at=now())
    containers.mark_running(root.pk)
    return root


def leaves(root: UserTaskStatus) -> Any:
    return objects.filter(tree_id=root.pk, node_type=NodeType.TASK).order_by("lft")


@pytest.fixture
def autocommit(transactional_db: None) -> None:
    """Without the transaction around a test, in which more is locked."""


def test_ending_one_of_many_leaves_costs_a_constant_number_of_queries(
    autocommit: None, wide: UserTaskStatus
) -> None:
    node = leaves(wide)[0]
    with queries() as sent:
        transitions.settle(node, Phase.SUCCEEDED, attempt=1)
    assert len(sent) <= 2, "\n".join(sent)


def test_starting_one_of_many_leaves_costs_a_constant_number_of_queries(
    autocommit: None, wide: UserTaskStatus
) -> None:
    """With the look-up of its node by the id of its task."""
    node = leaves(wide)[1]
    tasks.plain.push_request(id=node.task_id, retries=0, user_workflow=wide.pk, is_eager=False)
    try:
        with queries() as sent:
            gate.gate(tasks.plain)
        assert objects.get(pk=node.pk).phase == Phase.RUNNING
    finally:
        execution.unregister(tasks.plain.request.user_workflow_run)
        tasks.plain.pop_request()
    assert len(sent) <= 2, "\n".join(sent)


def test_marking_below_a_running_container_costs_three_queries(db: None) -> None:
    """However deep it is: what contains that is not looked at."""
    nodes = by_name(stored(nested()))
    transitions.begin(nodes["0"], 1, last_seen_at=now())
    containers.mark_running(nodes["left"].pk)
    with queries() as sent:
        containers.mark_running(nodes["right"].pk)
    assert len(sent) == 3, "\n".join(sent)


def test_looking_for_ready_containers_where_there_are_none_costs_one_query(db: None) -> None:
    """Nor is what is ready in another tree, whose process is about to settle it."""
    nodes, others = by_name(stored(nested())), by_name(stored(group_of(1, "other")))
    for node in (*(nodes[str(i)] for i in range(4)), nodes["left"], others["0"]):
        objects.filter(pk=node.pk).update(phase=Phase.SUCCEEDED, settled_at=now())
    with queries(1):
        assert containers.settle_ready(nodes["root"].pk) == []


@pytest.mark.parametrize("count", [10, 1000])
def test_a_failure_costs_the_same_for_any_number_of_siblings(autocommit: None, count: int) -> None:
    header = container("group", *(leaf(str(i)) for i in range(count)), name="header")
    root = stored(container("chord", header, leaf("body"), name="root"))
    node = by_name(root)["3"]
    with queries() as sent:
        transitions.settle(node, Phase.FAILED, message="It broke.")
    assert len(sent) <= 18, "\n".join(sent)


def test_a_failure_without_waiting_successors_takes_no_lock(autocommit: None) -> None:
    header = container("group", *(leaf(name) for name in "abc"), name="header")
    nodes = by_name(stored(container("chord", header, leaf("body"), name="root")))
    others = by_name(stored(group_of(2)))
    transitions.settle(nodes["a"], Phase.FAILED)
    for node in (nodes["b"], others["0"]):
        with queries() as sent:
            transitions.settle(node, Phase.FAILED)
        assert len(sent) == (5 if node is nodes["b"] else 6), "\n".join(sent)


def test_canceling_a_thousand_waiting_leaves_costs_few_queries(
    autocommit: None, wide: UserTaskStatus
) -> None:
    with queries() as sent:
        assert wide.cancel().pending == 999
    assert len(sent) <= 15, "\n".join(sent)


@pytest.mark.django_db
def test_reading_ten_thousand_nodes_costs_one_query() -> None:
    groups = [group_of(99, f"group {i}") for i in range(100)]
    root = stored(container("group", *groups, name="root"))
    with queries(1):
        tree = root.tree()
    assert sum(1 for _ in tree.walk()) == 1 + 100 * 100
    assert tree.total_steps == 100 * 99 * 2


# -- plans ----------------------------------------------------------------------------------------


@pytest.fixture
def background(postgres: str) -> None:
    """50,000 rows of other trees: a root and 19 leaves each, 49 of 50 trees settled."""
    model = stored(leaf("model"))
    made = {
        "id": "10000000 + n",
        "tree_id": "10000000 + n - mod(n, 20)",
        "parent_id": "CASE WHEN mod(n, 20) > 0 THEN 10000000 + n - mod(n, 20) END",
        "lft": "1 + mod(n, 20)",
        "rght": "CASE WHEN mod(n, 20) = 0 THEN 1000 ELSE 1 + mod(n, 20) END",
        "level": "(mod(n, 20) > 0)::int",
        "is_container": "mod(n, 20) = 0",
        "node_type": "CASE WHEN mod(n, 20) = 0 THEN 'group' ELSE 'task' END",
        "phase": "CASE WHEN mod(n / 20, 50) = 0 THEN 'PENDING' ELSE 'SUCCEEDED' END",
        "settled_at": "CASE WHEN mod(n / 20, 50) > 0 THEN now() END",
        "finished_sent_at": "CASE WHEN mod(n, 20) = 0 AND mod(n / 20, 50) > 0 THEN now() END",
        "created": "now() - n * interval '1 second'",
        "uuid": "gen_random_uuid()",
        "task_id": "gen_random_uuid()::text",
    }
    table = objects.model._meta.db_table
    columns = [field.column for field in objects.model._meta.concrete_fields]
    values = ", ".join(made.get(column, column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "
            f"FROM {table}, generate_series(0, 49999) n WHERE id = {model.pk}"
        )
        cursor.execute(f"ANALYZE {table}")


def nodes_of(sql: str) -> list[dict[str, Any]]:
    """The nodes of the plan that PostgreSQL makes for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        stack = [cursor.fetchone()[0][0]["Plan"]]
    found = []
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(node.get("Plans", ()))
    return found


def test_hot_statements_use_an_index(background: None) -> None:
    """Whatever they are: those that are really sent are looked at, one by one."""
    root = stored(nested())
    nodes = by_name(root)
    hot: dict[str, list[str]] = {}
    with queries() as hot["end of a leaf"]:
        transitions.settle(nodes["0"], Phase.SUCCEEDED)
    with queries() as hot["failure"]:
        transitions.settle(nodes["1"], Phase.FAILED, message="It broke.")
    with queries() as hot["tree"]:
        read_tree(root.pk)
    with queries() as hot["part of a tree"]:
        nodes["left"].tree()
    with queries() as hot["look-up"]:
        list(objects.filter(task_id=nodes["2"].task_id).order_by().values_list("pk"))
    with queries() as hot["roll-up"]:
        steps.roll_up(root.pk, every=handlers.progress.ROLL_UP_INTERVAL)
    with queries() as hot["cancel"]:
        root.cancel()
    with queries() as hot["submission"]:
        submission.store_plan(nested(), user_id=root.user_id)
    with queries() as hot["list"]:
        list(objects.roots().for_user(root.user_id).order_by("-created")[:50])
    with queries() as hot["reaper"]:
        reaper.reap()

    for what, statements in hot.items():
        assert statements, what
        for sql in statements:
            if sql.startswith("COPY"):
                continue  # It only adds.
            scans = [n for n in nodes_of(sql) if n.get("Relation Name", "").endswith("taskstatus")]
            reads = [n for n in scans if "Scan" in n["Node Type"]]
            assert all("Index" in n["Node Type"] or "Bitmap" in n["Node Type"] for n in reads), (
                f"{what}: {[n['Node Type'] for n in reads]}\n{sql}"
            )
    finished = [n.get("Index Cond", "") for n in nodes_of(hot["reaper"][0])]
    assert any("finished_sent_at" in condition for condition in finished), finished
