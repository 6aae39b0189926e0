"""Which task waits for which."""

from typing import Any

import networkx as nx
import pytest

from user_workflows.graph import Barrier, dependencies, prevented
from user_workflows.planning.plan import PlanNode
from user_workflows.testing import container, leaf


def waits(plan: PlanNode) -> dict[str, str]:
    """For each task the tasks that it waits for, at once or after others."""
    graph = dependencies(plan)
    return {
        task.name: "".join(
            sorted(n.name for n in nx.ancestors(graph, task) if not isinstance(n, Barrier))
        )
        for task in plan.leaves()
    }


def tasks(names: str) -> list[PlanNode]:
    return [leaf(name) for name in names]


CASES: dict[str, tuple[PlanNode, dict[str, str]]] = {
    "a task": (leaf("a"), {"a": ""}),
    "a chain": (container("chain", *tasks("abc")), {"a": "", "b": "a", "c": "ab"}),
    "a group": (container("group", *tasks("abc")), {"a": "", "b": "", "c": ""}),
    "a chord": (
        container("chord", container("group", *tasks("ab")), leaf("c")),
        {"a": "", "b": "", "c": "ab"},
    ),
    "a group between steps": (
        container("chain", leaf("a"), container("group", *tasks("bc")), leaf("d")),
        {"a": "", "b": "a", "c": "a", "d": "abc"},
    ),
    "a chain in a group": (
        container(
            "chord", container("group", container("chain", *tasks("ab")), leaf("c")), leaf("d")
        ),
        {"a": "", "b": "a", "c": "", "d": "abc"},
    ),
    "a group after a group": (
        container("chord", container("group", *tasks("ab")), container("group", *tasks("cd"))),
        {"a": "", "b": "", "c": "ab", "d": "ab"},
    ),
    "a chord as body": (
        container(
            "chord",
            container("group", *tasks("ab")),
            container("chord", container("group", *tasks("cd")), leaf("e")),
        ),
        {"a": "", "b": "", "c": "ab", "d": "ab", "e": "abcd"},
    ),
    "an empty group between steps": (
        container("chain", leaf("a"), container("group"), leaf("b")),
        {"a": "", "b": "a"},
    ),
    "an empty header": (container("chord", container("group"), leaf("a")), {"a": ""}),
    "empty groups around": (
        container("chain", container("group"), leaf("a"), container("group", container("group"))),
        {"a": ""},
    ),
    "nothing": (container("chain", container("group"), container("group")), {}),
    "callbacks": (
        container("chain", container("link", *tasks("axy")), leaf("b")),
        {"a": "", "x": "a", "y": "a", "b": "a"},
    ),
    "callbacks of a chain": (
        container("link", container("chain", *tasks("ab")), leaf("x")),
        {"a": "", "b": "a", "x": "ab"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_each_task_waits_for(case: str) -> None:
    plan, expected = CASES[case]
    assert waits(plan) == expected


def test_a_failure_prevents_what_waits_for_it_and_nothing_else() -> None:
    plan = container(
        "chord",
        container("group", container("chain", *tasks("ab")), leaf("c")),
        container("chain", *tasks("de")),
    )
    graph = dependencies(plan)
    a, _, c, *_ = plan.leaves()
    assert {task.name for task in prevented(graph, [a])} == {"b", "d", "e"}
    assert {task.name for task in prevented(graph, [a, c])} == {"b", "d", "e"}
    assert prevented(graph, []) == []


def test_in_a_part_of_a_tree_a_container_that_was_not_looked_into_stands_for_its_tasks() -> None:
    after = container("group", name="not read")
    a, plan = leaf("a"), container("chain", leaf("first"), after)
    plan.children.insert(1, a)
    assert prevented(dependencies(plan, partial=True), [a]) == [after]
    assert prevented(dependencies(plan), [a]) == []


def test_barriers_are_no_tasks() -> None:
    graph = dependencies(
        container("chord", container("group", *tasks("ab")), container("group", *tasks("cd")))
    )
    barriers = [found for found in graph if isinstance(found, Barrier)]
    assert len(barriers) == 1
    assert graph.number_of_edges() == 4


def test_many_that_wait_for_many_cost_a_line_each() -> None:
    plan = container(
        "chain",
        *(container("group", *(leaf(f"{row}-{n}") for n in range(1000))) for row in range(3)),
    )
    graph = dependencies(plan)
    assert graph.number_of_nodes() == 3002
    assert graph.number_of_edges() == 4000
    assert len(prevented(graph, [next(plan.leaves())])) == 2000


def test_two_barriers_are_two() -> None:
    groups = [container("group", *tasks(names)) for names in ("ab", "cd")]
    others = [container("group", *tasks(names)) for names in ("ef", "gh")]
    plan = container("group", container("chain", *groups), container("chain", *others))
    assert waits(plan)["h"] == "ef"
    assert waits(plan)["d"] == "ab"


def test_a_plan_walks_in_the_authors_order() -> None:
    plan = container("chain", leaf("a"), container("group", *tasks("bc")), leaf("d"))
    assert [task.name for task in plan.leaves()] == ["a", "b", "c", "d"]
    found: list[Any] = [part.name for part in plan.walk()]
    assert found == [plan.name, "a", "group(b,c)", "b", "c", "d"]
