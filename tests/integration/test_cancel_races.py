"""Six processes run the tasks of a workflow while two people cancel it, or parts of it."""

from __future__ import annotations

from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase

from . import jobs
from .checks import assert_intact
from .crew import Crew
from .planned import branches, by_name, stored

#: What the two people cancel, tree by tree.
CANCELS = [
    ["root", "root"],
    ["branch 0", "branch 1"],
    ["root", "branch 2"],
    ["inner 1", "branch 1"],
    ["0.0", "2.1"],
    ["branch 2", "2.2"],
]
TREES = {"postgresql": 18, "mysql": 8}


def test_trees_canceled_while_their_leaves_end_settle_completely(crew: Crew, server: str) -> None:
    """No deadlock, nothing left open, no signal twice, and what was canceled stays canceled."""
    roots = [stored(branches()) for _ in range(TREES[server])]
    trees = [{name: n.pk for name, n in by_name(root).items()} for root in roots]
    cancels = [CANCELS[i % len(CANCELS)] for i in range(len(roots))]

    results = crew.run(jobs.run_or_cancel, trees, cancels)

    assert_intact(roots, results)
    stored_phases = dict(UserTaskStatus.objects.values_list("pk", "phase"))
    canceled = {pk for result in results for pk in result.value["canceled"]}
    succeeded = {pk for result in results for pk in result.value["succeeded"]}
    assert [r.value["missed"] for r in results if r.value["missed"]] == []
    assert canceled and succeeded  # Else there was no race.
    assert {stored_phases[pk] for pk in canceled} == {Phase.CANCELED}
    assert {stored_phases[pk] for pk in succeeded} == {Phase.SUCCEEDED}
