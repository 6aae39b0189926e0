"""Random canvases, each sent by plain Celery and as a workflow: both have run the same."""

import random
from itertools import pairwise
from typing import Any

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Event, Worker, is_redis
from tests.acceptance.shapes import CELERYS, OURS
from tests.acceptance.trees import settled
from user_workflows import graph
from user_workflows.canvas import workflow
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

SEEDS = range(20 if is_redis() else 8)
KINDS = ["chain", "group", "chord"] * 3 + ["task"] * 4
TASKS = 12


class Author:
    """Writes the same canvas whenever it has the same seed."""

    def __init__(self, seed: int, canvas: Any, tag: str, failing: float = 0) -> None:
        self.random = random.Random(seed)
        self.canvas = canvas
        self.tag = tag
        self.failing = failing
        self.count = 0
        self.is_lost_on_celery = False
        """Whether Celery itself may never end it, or run tasks of it more than once."""

    def write(self) -> Any:
        made = self.part(8)
        return made if made["subtask_type"] else self.canvas.chain(made, self.part(0))

    def part(self, depth: int) -> Any:
        kind = self.random.choice(KINDS)
        if kind == "task" or depth == 0 or self.count > TASKS:
            return self.task()
        members = [self.part(depth - 1) for _ in range(self.random.choice([1, 2, 2, 3]))]
        if kind == "chord":
            return self.canvas.chord(members, self.part(depth - 1))
        if kind == "group":
            self.is_lost_on_celery |= any(part["subtask_type"] == "chord" for part in members)
            return self.canvas.group(members)
        made = self.canvas.chain(*members, self.part(depth - 1))
        kinds = [step["subtask_type"] for step in made["kwargs"].get("tasks", ())]
        self.is_lost_on_celery |= ("chord", "chord") in pairwise(kinds)
        return made

    def task(self) -> Any:
        self.count += 1
        made = tasks.echo.s(
            tag=self.tag,
            name=f"t{self.count}",
            fails=self.random.random() < self.failing,
        )
        return made.set(immutable=self.random.random() < 0.1)


def inputs(events: list[Event]) -> list[tuple[str, Any]]:
    return sorted((event.more["name"], event.more["values"]) for event in events)


def test_random_canvases_run_each_task_once_and_in_order(worker: Worker, user: Any) -> None:
    plain: dict[int, Any] = {}
    roots: dict[int, Any] = {}
    for seed in SEEDS:
        flow = workflow(Author(seed, OURS, f"random {seed}").write(), user=user)
        roots[seed] = flow.delay()
        author = Author(seed, CELERYS, f"plain {seed}")
        canvas = author.write()
        if not author.is_lost_on_celery:
            plain[seed] = canvas.apply_async()
    assert len(plain) > len(SEEDS) / 4
    for seed, submitted in roots.items():
        root = settled(submitted)
        ran = worker.events(tag=f"random {seed}")
        assert root.phase == Phase.SUCCEEDED, tree_as_text(root)
        assert sorted(event.task_id for event in ran) == ids(root, Phase.SUCCEEDED), tree_as_text(
            root
        )
        assert_in_order(root, ran)
        assert integrity.find_faults(root.tree_id) == []
        if seed in plain:
            assert submitted.result.get(timeout=PATIENCE) == plain[seed].get(timeout=PATIENCE)
            assert inputs(ran) == inputs(worker.events(tag=f"plain {seed}")), f"seed {seed}"


def test_random_failures_skip_what_waits_for_them_and_nothing_else(
    worker: Worker, user: Any
) -> None:
    roots = {
        seed: workflow(Author(seed, OURS, f"failing {seed}", 0.12).write(), user=user).delay()
        for seed in SEEDS
    }
    for seed, submitted in roots.items():
        root = settled(submitted)
        ran = worker.events(tag=f"failing {seed}")
        assert sorted(event.task_id for event in ran) == ids(root, Phase.SUCCEEDED, Phase.FAILED)
        assert_in_order(root, ran)
        tree = root.tree()
        failed = [leaf for leaf in tree.leaves() if leaf.phase is Phase.FAILED]
        prevented = graph.prevented(graph.dependencies(tree), failed)
        assert sorted(leaf.task_id for leaf in prevented) == ids(root, Phase.SKIPPED), tree_as_text(
            root
        )
        assert root.phase == (Phase.FAILED if failed else Phase.SUCCEEDED)
        assert integrity.find_faults(root.tree_id) == []


def ids(root: Any, *phases: Phase) -> list[str]:
    return sorted(leaf.task_id for leaf in root.tree().leaves() if leaf.phase in phases)


def assert_in_order(root: Any, ran: list[Event]) -> None:
    at = {event.task_id: event.at for event in ran}
    tree = root.tree()
    dependencies = graph.dependencies(tree)
    for leaf in tree.leaves():
        if leaf.task_id in at:
            before = [at[other.task_id] for other in graph.waits_for(dependencies, leaf)]
            assert max(before, default=0) < at[leaf.task_id], tree_as_text(root)
