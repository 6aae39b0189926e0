"""Eight processes end leaves of the same trees at the same instant."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils.timezone import now

from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import container, leaf

from . import jobs
from .checks import assert_announced_once, assert_intact, assert_settled
from .crew import Crew
from .planned import by_name, group_of, nested, stored

#: Trees of one run.
TREES = {"postgresql": 24, "mysql": 8}


@pytest.mark.parametrize("how", ["autocommit", "atomic", "mixed"])
def test_nodes_whose_leaves_end_in_eight_processes_settle_once(
    crew: Crew, server: str, how: str
) -> None:
    """Each end committed by itself, inside somebody's transaction, or some of either."""
    count = 40 if (server, how) == ("postgresql", "autocommit") else TREES[server]
    roots = [stored(nested()) for _ in range(count)]
    trees = [{name: n.pk for name, n in by_name(root).items()} for root in roots]

    results = crew.run(jobs.finish_in_step, trees, {}, how)

    assert_intact(roots, results)
    for root in roots:
        nodes = by_name(root)
        assert {n.phase for n in nodes.values()} == {Phase.SUCCEEDED}
        assert nodes["root"].completed_steps == nodes["root"].total_steps == 36 + 3 + 2
        assert nodes["left"].completed_steps == 1 + 2 + 3 + 4


def test_transactions_that_end_leaves_in_different_orders_do_not_block(
    crew: Crew, server: str
) -> None:
    roots = [stored(nested()) for _ in range(TREES[server])]
    trees = [{name: n.pk for name, n in by_name(root).items()} for root in roots]

    results = crew.run(jobs.end_two_in_one_transaction, trees)

    assert_intact(roots, results)


def test_nodes_whose_leaves_end_in_processes_on_sqlite_settle_once(tmp_path: Path) -> None:
    """Four processes, one file."""
    crew = Crew(4, f"sqlite:///{tmp_path}/db.sqlite3")
    try:
        trees = crew.run(jobs.prepare, 10, 4)[0].value
        results = crew.run(jobs.finish_in_step, trees, {})
        crew.run(jobs.verify, [pks["root"] for pks in trees], results)
    finally:
        crew.dismiss()


def test_of_contradicting_ends_of_one_leaf_one_takes_effect(crew: Crew, server: str) -> None:
    root = stored(group_of(TREES[server]))
    leaves = [n.pk for n in UserTaskStatus.objects.filter(parent=root).order_by("lft")]

    results = crew.run(jobs.end_the_same, leaves)
    again = crew.run(jobs.settle_again, leaves)

    won = Counter(pk for result in results for pk, _ in result.value)
    assert max(won.values()) == 1
    assert sum(result.value for result in again) <= len(leaves) - len(won)
    assert_settled(root.pk)
    assert_announced_once([root], [*results, *again])
    texts = Counter(UserTaskArtifact.objects.values_list("status_id", flat=True))
    for ended in UserTaskStatus.objects.filter(pk__in=leaves):
        assert texts[ended.pk] == (ended.phase == Phase.FAILED), ended.phase


@pytest.mark.parametrize("allowed", [False, True])
def test_concurrent_failures_skip_successors_and_store_each_error_once(
    crew: Crew, server: str, allowed: bool
) -> None:
    roots = [stored(nested(allow_failure=allowed)) for _ in range(TREES[server])]
    trees = [{name: n.pk for name, n in by_name(root).items()} for root in roots]
    fates = {
        pks[str(i)]: f"{number}.{i} went wrong"
        for number, pks in enumerate(trees)
        for i in range(8)
        if (number * 5 + i * 3) % 7 < (number % 3)  # In every third tree nothing fails.
    }

    results = crew.run(jobs.finish_in_step, trees, fates)

    assert_intact(roots, results)
    for root in roots:
        nodes = by_name(root)
        failed = {n.pk for n in nodes.values() if n.pk in fates}
        assert {n.pk for n in nodes.values() if n.phase == Phase.FAILED and n.name.isdigit()} == (
            failed
        )
        for name in ("body", "tail"):
            if failed and not allowed:
                assert nodes[name].phase == Phase.SKIPPED
                assert nodes[name].caused_by_id in failed
            else:
                assert nodes[name].phase == Phase.SUCCEEDED
        _assert_explained(nodes, failed, fates, allowed)


def _assert_explained(
    nodes: dict[str, UserTaskStatus], failed: set[int], fates: dict[int, str], allowed: bool
) -> None:
    """Each failed leaf says why, each failed container says what one leaf below it says, once."""
    artifacts: dict[int, list[str]] = {}
    found = UserTaskArtifact.objects.filter(status__in=[n.pk for n in nodes.values()], name="Error")
    for pk, text in found.values_list("status_id", "text"):
        artifacts.setdefault(pk, []).append(text)
    for node in nodes.values():
        below = {n.pk for n in nodes.values() if n.pk in failed and node.lft < n.lft < node.rght}
        if node.pk in failed:
            assert artifacts.pop(node.pk) == [fates[node.pk]]
        elif below and not allowed:
            assert node.phase == Phase.FAILED
            assert node.caused_by_id in below, (node.name, node.caused_by_id)
            assert artifacts.pop(node.pk, []) == [fates[node.caused_by_id]], node.name
        elif below:
            assert node.phase == Phase.PARTIAL
    assert not artifacts


def test_concurrent_reapers_report_each_lost_task_once(crew: Crew, server: str) -> None:
    """Leaves whose worker was killed, roots that nobody settled, ends that nobody was told."""
    long_ago = now() - timedelta(hours=1)
    roots: dict[str, list[UserTaskStatus]] = {"lost": [], "settled": [], "announced": []}
    for number in range(3 * TREES[server]):
        kind = ("lost", "settled", "announced")[number % 3]
        root = stored(container("chain", leaf("a"), leaf("b"), name="root"))
        nodes = UserTaskStatus.objects.filter(tree_id=root.pk)
        if kind == "lost":
            nodes.filter(name="a").update(phase=Phase.RUNNING, last_seen_at=long_ago)
        else:
            ended = nodes.filter(is_container=False) if kind == "settled" else nodes
            ended.update(phase=Phase.SUCCEEDED, settled_at=long_ago, completed_steps=1)
        roots[kind].append(root)

    results = crew.run(jobs.reap)

    found = {kind: Counter(uuid for r in results for uuid in r.value[kind]) for kind in roots}
    for kind in roots:
        if kind != "lost":
            assert found[kind] == Counter(root.uuid for root in roots[kind])
    lost = UserTaskStatus.objects.filter(tree_id__in=[r.pk for r in roots["lost"]], name="a")
    assert found["lost"] == Counter(lost.values_list("uuid", flat=True))
    ends = Counter(end for result in results for end in result.finished)
    verdicts = {"lost": Phase.FAILED, "settled": Phase.SUCCEEDED, "announced": Phase.SUCCEEDED}
    assert ends == Counter((r.pk, str(verdicts[kind])) for kind in roots for r in roots[kind])
    assert set(Counter(pk for result in results for pk in result.stopped).values()) == {1}
    for root in (*roots["lost"], *roots["settled"]):
        assert_settled(root.pk)
    texts = UserTaskArtifact.objects.filter(status__in=lost).values_list("status_id", flat=True)
    assert Counter(texts) == Counter(lost.values_list("pk", flat=True))
