"""Waiting for trees that workers run, and reading them."""

from collections import Counter
from typing import Any

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, until
from user_workflows.canvas import tracked
from user_workflows.fields import ERROR_ARTIFACT
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.testing import tree_as_text


def step(task: Any, name: str, *values: Any, allow_failure: bool = False, **arguments: Any) -> Any:
    """Return a call of a task whose node and recorded events have this name."""
    return tracked(task.s(*values, tag=name, **arguments), name=name, allow_failure=allow_failure)


def settled(root: UserTaskStatus, timeout: float = PATIENCE) -> UserTaskStatus:
    """Wait until a workflow is settled and its signal is sent; return its root as stored then."""
    roots = UserTaskStatus.objects.filter(
        pk=root.pk, settled_at__isnull=False, finished_sent_at__isnull=False
    )
    try:
        return until(roots.first, "to settle", timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{tree_as_text(root)}") from None


def find_leaf(root: UserTaskStatus, name: str) -> UserTaskStatus:
    """Return the task of this name in a tree."""
    return UserTaskStatus.objects.get(tree_id=root.tree_id, node_type=NodeType.TASK, name=name)


def phases(root: UserTaskStatus) -> dict[str, Phase]:
    """Return the phases of a tree's tasks by name."""
    return {leaf.name: leaf.phase for leaf in root.tree().leaves()}


def errors(node: UserTaskStatus) -> list[str]:
    """Return the texts of a node's error artifacts."""
    artifacts: Any = UserTaskArtifact.objects.filter(status=node, name=ERROR_ARTIFACT)
    return list(artifacts.order_by("pk").values_list("text", flat=True))


def caused(root: UserTaskStatus) -> dict[str, str]:
    """Return which node each skipped task is skipped because of; both by name."""
    names = {node.pk: node.name for node in root.tree().walk()}
    skipped = (leaf for leaf in root.tree().leaves() if leaf.phase is Phase.SKIPPED)
    return {leaf.name: names.get(leaf.caused_by_id or 0, "") for leaf in skipped}


def drain(worker: Worker) -> None:
    """Wait until the worker has taken everything that is in its queue now."""
    for _ in range(3):
        tasks.add.si().apply_async().get(timeout=PATIENCE)


def bodies(worker: Worker, root: UserTaskStatus) -> Counter[str]:
    """Return how often the body of each task of a tree has run, by name."""
    drain(worker)
    names = {leaf.task_id: leaf.name for leaf in root.tree().leaves()}
    return Counter(names[e.task_id] for e in worker.events() if e.task_id in names)


def assert_signals_were_sent_once(worker: Worker, root: UserTaskStatus) -> None:
    nodes = {node.task_id: node.phase.value for node in root.tree().walk()}

    def stopped() -> dict[str, int]:
        events = (event for event in worker.events("stopped") if event.task_id in nodes)
        return Counter(event.task_id for event in events)

    until(lambda: set(stopped()) == set(nodes), "the signals of all nodes")
    assert set(stopped().values()) == {1}
    finished = [e for e in worker.events("finished") if e.task_id == root.task_id]
    assert [event.more["phase"] for event in finished] == [root.phase]
