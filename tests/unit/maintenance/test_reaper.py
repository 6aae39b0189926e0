"""What ``reap`` finds and mends, kind by kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from celery import current_app
from celery.states import FAILURE, REVOKED, SUCCESS
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from tests import tasks
from tests.helpers import phases, queries, signals, stored
from user_workflows import user_task_stopped, workflow_finished
from user_workflows.lifecycle import progress, transitions
from user_workflows.maintenance import reaper
from user_workflows.maintenance.reaper import Report, reap
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import spawning
from user_workflows.tasks import reap_lost_user_tasks
from user_workflows.testing import container, leaf
from user_workflows.tree.nodes import read_tree

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Nodes = dict[str, UserTaskStatus]


@pytest.fixture
def conf() -> Iterator[Any]:
    """Celery's settings, as they are before and after the test."""
    conf = current_app.conf
    before = {name: conf[name] for name in ("task_acks_late", "broker_transport_options")}
    yield conf
    conf.update(before)


@pytest.fixture
def nodes(transactional_db: None) -> Nodes:
    """a -> b -> c: a worker has started ``a`` just now."""
    nodes = stored(container("chain", leaf("a", task_id="a"), leaf("b"), leaf("c"), name="r"))
    transitions.begin(nodes["a"], 1, last_seen_at=now())
    return nodes


def silent(node: UserTaskStatus, since: timedelta) -> None:
    change(node, last_seen_at=now() - since)


def change(node: UserTaskStatus, **columns: Any) -> None:
    """What a process has written before it died."""
    UserTaskStatus.objects.filter(pk=node.pk).update(**columns)


def why(node: UserTaskStatus) -> str:
    return UserTaskArtifact.objects.get(status=node, name="Error").text


class TestStalledTasks:
    def test_a_task_without_heartbeats_for_too_long_is_failed(self, nodes: Nodes) -> None:
        silent(nodes["a"], 7 * MINUTE)
        with signals() as heard:
            assert reap() == Report(lost=[nodes["a"].uuid])
        assert phases(nodes["r"].pk) == {
            "r": "FAILED", "a": "FAILED", "b": "SKIPPED", "c": "SKIPPED",
        }  # fmt: skip
        assert why(nodes["a"]) == "Lost: no heartbeat for 7\xa0minutes."
        assert heard["finished"] == [(nodes["r"].pk, Phase.FAILED)]

    def test_a_task_with_a_recent_heartbeat_is_left_alone(self, nodes: Nodes) -> None:
        silent(nodes["a"], 4 * MINUTE)
        assert reap() == Report()
        assert phases(nodes["r"].pk)["a"] == "RUNNING"

    def test_the_time_without_heartbeats_is_a_setting(self, nodes: Nodes, settings: Any) -> None:
        silent(nodes["a"], 10 * MINUTE)
        settings.USER_WORKFLOWS_LOST_AFTER = timedelta(minutes=11)
        assert reap() == Report()
        settings.USER_WORKFLOWS_LOST_AFTER = timedelta(minutes=9)
        assert reap().lost == [nodes["a"].uuid]

    @pytest.mark.parametrize(("timeout", "options"), [(60, {}), (10, {"visibility_timeout": 600})])
    def test_a_task_with_acks_late_is_failed_after_its_redelivery_is_due(
        self, nodes: Nodes, timeout: int, options: dict[str, Any], monkeypatch: Any, conf: Any
    ) -> None:
        monkeypatch.setattr(tasks.user, "acks_late", True)
        conf.broker_transport_options = options
        change(nodes["a"], task_class=tasks.user.name)
        silent(nodes["a"], (timeout + 4) * MINUTE)
        assert reap() == Report()
        silent(nodes["a"], (timeout + 6) * MINUTE)
        assert reap().lost == [nodes["a"].uuid]

    def test_the_acks_late_of_the_app_applies_to_tasks_that_are_not_registered(
        self, nodes: Nodes, conf: Any
    ) -> None:
        conf.task_acks_late = True
        silent(nodes["a"], 20 * MINUTE)
        assert reap() == Report()

    def test_a_stalled_task_that_was_asked_to_stop_ends_canceled(self, nodes: Nodes) -> None:
        nodes["r"].cancel()
        silent(nodes["a"], HOUR)
        assert reap().lost == [nodes["a"].uuid]
        assert set(phases(nodes["r"].pk).values()) == {"CANCELED"}
        assert not UserTaskStatus.objects.active().exists()

    def test_a_stalled_task_that_waits_for_its_next_attempt_is_left_alone(
        self, nodes: Nodes
    ) -> None:
        transitions.retry(nodes["a"], 1)
        silent(nodes["a"], 30 * MINUTE)
        assert reap() == Report()

    def test_a_lost_task_that_may_fail_fails_its_chain_if_a_task_waits_for_it(self) -> None:
        nodes = stored(container("chain", leaf("a", allow_failure=True), leaf("b"), name="r"))
        transitions.begin(nodes["a"], 1, last_seen_at=now() - HOUR)
        reap()
        assert phases(nodes["r"].pk) == {"r": "FAILED", "a": "FAILED", "b": "SKIPPED"}

    @pytest.mark.parametrize("verdict", [Phase.SUCCEEDED, Phase.FAILED])
    def test_a_stalled_task_that_has_its_verdict_is_failed(
        self, nodes: Nodes, verdict: Phase
    ) -> None:
        transitions.change_phase(nodes["a"], verdict)
        silent(nodes["a"], HOUR)
        assert reap().lost == [nodes["a"].uuid]
        assert phases(nodes["r"].pk)["a"] == "FAILED"

    def test_tasks_that_have_ended_or_were_replaced_need_no_heartbeats(self) -> None:
        root = container("chain", leaf("a", allow_failure=True), leaf("x"), leaf("b"), name="r")
        nodes = stored(root)
        for name in "ax":
            transitions.begin(nodes[name], 1, last_seen_at=now())
        sent = spawning.attach_subtree(nodes["a"], leaf("sent", allow_failure=True))
        heir = spawning.attach_subtree(nodes["x"], leaf("heir"), in_place_of=0)
        for made in (sent, heir):
            transitions.begin(made, 1, last_seen_at=now())
        transitions.settle(nodes["a"], Phase.SUCCEEDED)
        for name in "ax":
            silent(nodes[name], HOUR)
        before = list(UserTaskStatus.objects.order_by("pk").values())
        assert reap() == Report()
        assert list(UserTaskStatus.objects.order_by("pk").values()) == before

    def test_a_stall_below_a_minute_is_reported_in_seconds(
        self, nodes: Nodes, settings: Any
    ) -> None:
        settings.USER_WORKFLOWS_LOST_AFTER = timedelta(seconds=20)
        silent(nodes["a"], timedelta(seconds=30))
        reap()
        assert why(nodes["a"]).startswith("Lost: no heartbeat for 0:00:30.")

    def test_an_attempt_that_begins_while_the_reaper_looks_is_not_failed(
        self, nodes: Nodes, monkeypatch: Any
    ) -> None:
        def words(text: str) -> str:
            transitions.begin(nodes["a"], 2, last_seen_at=now())
            return text

        monkeypatch.setattr(reaper, "gettext", words)
        silent(nodes["a"], HOUR)
        assert reap() == Report()
        assert phases(nodes["r"].pk)["a"] == "RUNNING"

    def test_a_lost_task_that_may_fail_makes_its_group_partial_if_no_task_waits_for_it(
        self,
    ) -> None:
        nodes = stored(container("group", leaf("a", allow_failure=True), leaf("b"), name="r"))
        transitions.begin(nodes["a"], 1, last_seen_at=now() - HOUR)
        reap()
        transitions.settle(nodes["b"], Phase.SUCCEEDED)
        assert phases(nodes["r"].pk) == {"r": "PARTIAL", "a": "FAILED", "b": "SUCCEEDED"}

    def test_a_lost_task_stays_failed_when_its_slow_worker_reports_success(
        self, nodes: Nodes
    ) -> None:
        silent(nodes["a"], HOUR)
        reap()
        assert not transitions.begin(nodes["a"], 2, last_seen_at=now())
        assert not transitions.settle(nodes["a"], Phase.SUCCEEDED, attempt=1)
        assert phases(nodes["r"].pk)["a"] == "FAILED"


class TestResultBackend:
    @pytest.mark.parametrize(
        ("state", "result", "phase", "next_phase"),
        [
            (SUCCESS, 42, "SUCCEEDED", "PENDING"),
            (FAILURE, tasks.Boom("a went wrong"), "FAILED", "SKIPPED"),
            (REVOKED, tasks.Boom("revoked"), "CANCELED", "SKIPPED"),
        ],
    )
    @pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
    def test_a_stalled_task_ends_as_the_result_backend_says(
        self, nodes: Nodes, state: str, result: Any, phase: str, next_phase: str, begun: bool
    ) -> None:
        if begun:
            silent(nodes["a"], HOUR)
        else:
            change(nodes["a"], phase=Phase.PENDING, last_seen_at=None)
            UserTaskStatus.objects.update(created=now() - DAY, modified=now() - DAY)
        current_app.backend.store_result("a", result, state)
        try:
            assert reap() == Report(recovered=[nodes["a"].uuid])
        finally:
            current_app.backend.forget("a")
        assert phases(nodes["r"].pk)["a"] == phase
        assert phases(nodes["r"].pk)["b"] == next_phase
        if state == FAILURE:
            assert why(nodes["a"]) == "a went wrong"
        else:
            assert not UserTaskArtifact.objects.exists()

    def test_a_failure_in_the_result_backend_is_not_allowed(self) -> None:
        """Else it would have gone on with None for a result."""
        nodes = stored(
            container("chain", leaf("a", task_id="a", allow_failure=True), leaf("b"), name="r")
        )
        transitions.begin(nodes["a"], 1, last_seen_at=now() - HOUR)
        current_app.backend.store_result("a", tasks.Boom("a went wrong"), FAILURE)
        try:
            reap()
        finally:
            current_app.backend.forget("a")
        assert phases(nodes["r"].pk) == {"r": "FAILED", "a": "FAILED", "b": "SKIPPED"}

    def test_a_result_that_comes_with_a_new_attempt_is_ignored(
        self, nodes: Nodes, monkeypatch: Any
    ) -> None:
        class Result:
            result = None

            @property
            def state(self) -> str:
                transitions.begin(nodes["a"], 2, last_seen_at=now())
                return str(SUCCESS)

        monkeypatch.setattr(reaper, "AsyncResult", lambda task_id: Result())
        silent(nodes["a"], HOUR)
        assert reap() == Report()
        assert phases(nodes["r"].pk)["a"] == "RUNNING"

    def test_a_result_ends_the_wait_for_a_redelivery(self, nodes: Nodes, conf: Any) -> None:
        conf.task_acks_late = True
        silent(nodes["a"], 6 * MINUTE)
        current_app.backend.store_result("a", 42, SUCCESS)
        try:
            assert reap().recovered == [nodes["a"].uuid]
        finally:
            current_app.backend.forget("a")

    def test_a_stalled_task_is_failed_while_the_result_backend_is_away(
        self, nodes: Nodes, monkeypatch: Any
    ) -> None:
        def away(*args: Any, **kwargs: Any) -> Any:
            raise ConnectionError

        monkeypatch.setattr(current_app.backend, "get", away)
        silent(nodes["a"], HOUR)
        assert reap().lost == [nodes["a"].uuid]


class TestHalfSettled:
    def test_a_failure_that_was_not_propagated_is_propagated(self, nodes: Nodes) -> None:
        change(nodes["a"], phase=Phase.FAILED, state="Failed", settled_at=now() - 2 * MINUTE)
        with signals() as heard:
            assert reap() == Report(settled=[nodes["r"].uuid])
        assert phases(nodes["r"].pk) == {
            "r": "FAILED", "a": "FAILED", "b": "SKIPPED", "c": "SKIPPED",
        }  # fmt: skip
        assert heard["finished"] == [(nodes["r"].pk, Phase.FAILED)]

    def test_a_container_is_caused_by_the_leaf_that_failed_first(self) -> None:
        nodes = stored(container("group", leaf("a"), leaf("b"), leaf("c"), name="r"))
        for name, since in (("a", 5), ("b", 20), ("c", 10)):
            change(nodes[name], phase=Phase.FAILED, settled_at=now() - since * MINUTE)
        assert reap().settled == [nodes["r"].uuid]
        assert UserTaskStatus.objects.get(name="r").caused_by == nodes["b"]

    def test_a_repaired_workflow_that_goes_on_gets_its_sums_stored(self) -> None:
        nodes = stored(
            container("group", container("chain", leaf("a"), name="c"), leaf("x"), name="r")
        )
        change(nodes["a"], phase=Phase.SUCCEEDED, completed_steps=1, settled_at=now() - HOUR)
        assert reap().settled == [nodes["r"].uuid]
        progress.finish()
        assert UserTaskStatus.objects.get(name="r").completed_steps == 1

    def test_a_last_success_that_settled_nothing_settles_its_ancestors(self) -> None:
        nodes = stored(container("group", container("chain", leaf("a"), name="c"), name="r"))
        change(nodes["a"], phase=Phase.SUCCEEDED, completed_steps=1, settled_at=now() - HOUR)
        assert reap().settled == [nodes["r"].uuid]
        root = UserTaskStatus.objects.get(name="r")
        assert (root.phase, root.is_settled, root.completed_steps) == ("SUCCEEDED", True, 1)

    def test_a_settled_container_settles_its_open_parent(self) -> None:
        nodes = stored(container("group", container("chain", leaf("a"), name="c"), name="r"))
        done = {"phase": Phase.SUCCEEDED, "settled_at": now() - HOUR}
        change(nodes["a"], **done)
        change(nodes["c"], **done)
        assert reap().settled == [nodes["r"].uuid]

    def test_a_container_that_is_not_marked_by_a_canceled_child_is_marked(self) -> None:
        nodes = stored(
            container(
                "chord", container("group", leaf("a"), leaf("x"), name="g"), leaf("b"), name="r"
            )
        )
        change(nodes["a"], phase=Phase.CANCELED, state="Canceled", settled_at=now() - HOUR)
        transitions.begin(nodes["x"], 1, last_seen_at=now())
        assert reap().settled == [nodes["r"].uuid]
        assert phases(nodes["r"].pk) == {
            "r": "CANCELED", "g": "CANCELED", "a": "CANCELED", "x": "RUNNING", "b": "SKIPPED",
        }  # fmt: skip
        assert reap() == Report()

    def test_a_task_whose_spawned_tasks_have_ended_is_left_until_it_has_ended(
        self, nodes: Nodes
    ) -> None:
        sent = spawning.attach_subtree(nodes["a"], leaf("sent", allow_failure=True))
        change(sent, phase=Phase.CANCELED, settled_at=now() - HOUR)
        assert reap() == Report()
        assert phases(nodes["r"].pk)["a"] == "RUNNING"
        change(nodes["a"], ended_at=now() - HOUR, phase=Phase.SUCCEEDED)
        assert reap().settled == [nodes["r"].uuid]
        assert UserTaskStatus.objects.get(name="a").is_settled

    def test_a_canceled_spawned_task_does_not_skip_the_successors_of_its_parent(self) -> None:
        nodes = stored(
            container("group", container("chain", leaf("a"), leaf("b")), leaf("c"), name="r")
        )
        transitions.begin(nodes["a"], 1, last_seen_at=now())
        spawning.attach_subtree(nodes["a"], leaf("sent", allow_failure=True)).cancel()
        transitions.settle(nodes["a"], Phase.SUCCEEDED)
        change(nodes["a"], settled_at=now() - HOUR)
        change(nodes["c"], phase=Phase.FAILED, settled_at=now() - HOUR)  # And its process died.
        reap()
        found = phases(nodes["r"].pk)
        assert (found["a"], found["b"]) == ("CANCELED", "PENDING")
        assert found["r"] == "FAILED"

    def test_a_failure_of_the_last_minute_is_not_propagated(self, nodes: Nodes) -> None:
        change(nodes["a"], phase=Phase.FAILED, settled_at=now() - MINUTE / 2)
        assert reap() == Report()
        assert phases(nodes["r"].pk)["b"] == "PENDING"

    def test_a_container_whose_last_child_settled_within_a_minute_is_left(self) -> None:
        nodes = stored(container("group", leaf("a"), leaf("b"), name="r"))
        change(nodes["a"], phase=Phase.SUCCEEDED, settled_at=now() - HOUR)
        change(nodes["b"], phase=Phase.SUCCEEDED, settled_at=now() - MINUTE / 2)
        assert reap() == Report()
        change(nodes["b"], settled_at=now() - 2 * MINUTE)
        assert reap().settled == [nodes["r"].uuid]

    def test_a_healthy_workflow_is_not_changed(self, nodes: Nodes) -> None:
        transitions.settle(nodes["a"], Phase.SUCCEEDED)
        change(nodes["a"], settled_at=now() - 2 * MINUTE)
        before = list(UserTaskStatus.objects.values())
        assert reap() == Report()
        assert list(UserTaskStatus.objects.values()) == before


class TestMissedSignals:
    def test_a_missed_workflow_finished_is_sent_once(self, nodes: Nodes) -> None:
        nodes["r"].cancel()
        transitions.settle(nodes["a"], Phase.CANCELED)
        change(nodes["r"], settled_at=now() - 11 * MINUTE, finished_sent_at=None)
        with signals() as heard:
            assert reap() == Report(announced=[nodes["r"].uuid])
            assert reap() == Report()
        assert heard == {"stopped": [], "finished": [(nodes["r"].pk, Phase.CANCELED)]}

    def test_a_slow_receiver_of_workflow_finished_is_not_called_twice(self, nodes: Nodes) -> None:
        heard = []

        def slow(sender: Any, status: UserTaskStatus, **kwargs: Any) -> None:
            heard.append(status.pk)
            if len(heard) == 1:
                change(status, settled_at=now() - 2 * MINUTE)
                reap()

        workflow_finished.connect(slow)
        try:
            nodes["r"].cancel()
            transitions.settle(nodes["a"], Phase.CANCELED)
        finally:
            workflow_finished.disconnect(slow)
        assert heard == [nodes["r"].pk]

    def test_the_reaper_and_a_slow_process_send_workflow_finished_once(self, nodes: Nodes) -> None:
        heard = []

        def slow(sender: Any, status: UserTaskStatus, **kwargs: Any) -> None:
            if status.pk == nodes["r"].pk:  # The next that the process sends is about the whole.
                change(status, settled_at=now() - 2 * MINUTE)
                reap()

        def finished(sender: Any, status: UserTaskStatus, **kwargs: Any) -> None:
            heard.append(status.pk)

        user_task_stopped.connect(slow)
        workflow_finished.connect(finished)
        try:
            nodes["r"].cancel()
            transitions.settle(nodes["a"], Phase.CANCELED)
        finally:
            user_task_stopped.disconnect(slow)
            workflow_finished.disconnect(finished)
        assert heard == [nodes["r"].pk]


class TestMessages:
    @pytest.fixture(autouse=True)
    def yesterday(self, nodes: Nodes) -> None:
        """All was sent yesterday, and the first has ended two hours ago."""
        transitions.settle(nodes["a"], Phase.SUCCEEDED)
        UserTaskStatus.objects.update(created=now() - DAY, modified=now() - DAY)
        change(nodes["a"], settled_at=now() - 2 * HOUR)

    def test_a_pending_task_whose_turn_came_long_ago_is_reported_and_left_alone(
        self, nodes: Nodes
    ) -> None:
        before = list(UserTaskStatus.objects.values())
        assert reap() == Report(waiting=[nodes["b"].uuid])
        assert list(UserTaskStatus.objects.values()) == before

    def test_a_pending_task_whose_turn_has_just_come_is_not_reported(self, nodes: Nodes) -> None:
        change(nodes["a"], settled_at=now() - HOUR / 2)
        assert reap() == Report()

    def test_a_pending_task_is_failed_after_message_lost_after(
        self, nodes: Nodes, settings: Any
    ) -> None:
        settings.USER_WORKFLOWS_MESSAGE_LOST_AFTER = 3 * HOUR
        assert reap() == Report(waiting=[nodes["b"].uuid])
        assert phases(nodes["r"].pk)["b"] == "PENDING"
        settings.USER_WORKFLOWS_MESSAGE_LOST_AFTER = HOUR
        assert reap() == Report(waiting=[nodes["b"].uuid])
        assert phases(nodes["r"].pk) == {
            "r": "FAILED", "a": "SUCCEEDED", "b": "FAILED", "c": "SKIPPED",
        }  # fmt: skip
        assert why(nodes["b"]).startswith("Lost: no worker has taken it since ")

    def test_a_retry_that_no_worker_has_taken_is_reported(self, nodes: Nodes) -> None:
        transitions.begin(nodes["b"], 1, last_seen_at=now() - DAY)
        transitions.retry(nodes["b"], 1)
        change(nodes["b"], modified=now() - DAY)
        assert reap() == Report(waiting=[nodes["b"].uuid])

    def test_a_retry_of_a_task_with_spawned_tasks_is_reported(self) -> None:
        status = stored(leaf("z"))["z"]
        transitions.begin(status, 1, last_seen_at=now() - DAY)
        sent = spawning.attach_subtree(status, leaf("sent", allow_failure=True))
        transitions.settle(sent, Phase.SUCCEEDED)
        transitions.retry(status, 1)
        change(status, modified=now() - DAY, created=now() - DAY)
        assert status.uuid in reap().waiting

    def test_a_task_behind_a_running_one_is_not_reported(self, nodes: Nodes, settings: Any) -> None:
        settings.USER_WORKFLOWS_LOST_AFTER = DAY
        transitions.begin(nodes["b"], 1, last_seen_at=now() - 2 * HOUR)
        change(nodes["c"], modified=now() - DAY)
        assert reap() == Report()

    def test_a_successor_does_not_wait_for_spawned_tasks(self, nodes: Nodes) -> None:
        sent = spawning.attach_subtree(nodes["a"], leaf("sent", allow_failure=True))
        transitions.begin(sent, 1, last_seen_at=now())
        change(nodes["a"], settled_at=None, ended_at=now() - 2 * HOUR)
        assert reap() == Report(waiting=[nodes["b"].uuid])
        change(nodes["a"], ended_at=now() - HOUR / 2)
        assert reap() == Report()

    def test_a_lost_message_of_a_task_that_may_fail_skips_its_successor(
        self, nodes: Nodes, settings: Any
    ) -> None:
        settings.USER_WORKFLOWS_MESSAGE_LOST_AFTER = HOUR
        change(nodes["b"], allow_failure=True)
        reap()
        assert phases(nodes["r"].pk)["c"] == "SKIPPED"

    def test_a_workflow_that_is_deleted_while_the_reaper_looks_is_ignored(
        self, nodes: Nodes, monkeypatch: Any
    ) -> None:
        read = read_tree

        def delete_and_read(tree_id: int) -> Any:
            UserTaskStatus.objects.filter(tree_id=tree_id).delete()
            return read(tree_id)

        monkeypatch.setattr(reaper, "read_tree", delete_and_read)
        assert reap() == Report()

    def test_a_recent_retry_is_not_reported(self, nodes: Nodes) -> None:
        transitions.begin(nodes["b"], 1, last_seen_at=now())
        transitions.retry(nodes["b"], 1)
        change(nodes["c"], modified=now() - DAY)
        assert reap() == Report()


class TestSeveralReapers:
    @pytest.mark.parametrize("moment", range(1, 12))
    def test_another_reaper_at_any_moment_does_nothing_twice(
        self, nodes: Nodes, moment: int
    ) -> None:
        """The other runs as a whole before the first one's so many-th write."""
        silent(nodes["a"], HOUR)
        other = stored(container("group", leaf("x"), leaf("y"), name="s"))
        for name in "xy":
            change(other[name], phase=Phase.SUCCEEDED, settled_at=now() - HOUR)
        unsent = stored(leaf("z"))["z"]
        change(unsent, phase=Phase.SUCCEEDED, settled_at=now() - HOUR)
        left, reports = moment, []

        def count(execute: Any, sql: str, *args: Any) -> Any:
            nonlocal left
            if sql.startswith(("UPDATE", "INSERT")) and not connection.in_atomic_block:
                left -= 1
                if left == 0:
                    reports.append(reap())
            return execute(sql, *args)

        with signals() as heard, connection.execute_wrapper(count):
            reports.append(reap())
        found = [each for report in reports for each in (*report.lost, *report.announced)]
        assert sorted(found) == sorted([nodes["a"].uuid, unsent.uuid])
        assert len(heard["stopped"]) == len(set(heard["stopped"]))
        assert sorted(heard["finished"]) == sorted(
            [
                (nodes["r"].pk, Phase.FAILED),
                (other["s"].pk, Phase.SUCCEEDED),
                (unsent.pk, Phase.SUCCEEDED),
            ]
        )
        assert UserTaskArtifact.objects.filter(status=nodes["a"]).count() == 1
        assert not UserTaskStatus.objects.active().exists()


def test_reaping_healthy_workflows_costs_five_queries(nodes: Nodes) -> None:
    for number in range(20):
        found = stored(
            container("chain", leaf(f"{number}.1"), leaf(f"{number}.2"), name=f"r{number}")
        )
        done = found[f"{number}.1"]
        transitions.settle(done, Phase.SUCCEEDED)
        change(done, settled_at=now() - HOUR, last_seen_at=now() - HOUR)
    allowed = stored(container("group", leaf("x", allow_failure=True), leaf("y"), name="allowed"))
    broken = stored(container("group", leaf("v"), leaf("w"), leaf("u"), name="broken"))
    for each in (allowed["x"], broken["v"], broken["w"]):
        transitions.settle(each, Phase.CANCELED if each is broken["w"] else Phase.FAILED)
        change(each, settled_at=now() - HOUR)
    over = stored(leaf("over"))["over"]
    over.succeed()
    change(over, settled_at=now() - HOUR)
    with queries(5):
        assert reap() == Report()


def test_a_task_with_a_heartbeat_while_the_reaper_looks_is_not_failed(
    nodes: Nodes, monkeypatch: Any
) -> None:
    silent(nodes["a"], HOUR)

    def recover(leaf: UserTaskStatus) -> bool:
        change(leaf, last_seen_at=now())
        return False

    monkeypatch.setattr(reaper, "_settle_from_backend", recover)
    assert reap() == Report()
    assert phases(nodes["r"].pk)["a"] == "RUNNING"


def test_the_command_reports_what_was_found(nodes: Nodes) -> None:
    silent(nodes["a"], HOUR)
    out = StringIO()
    call_command("reap_workflows", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].split()[:3] == ["1", "running", "tasks"]
    assert lines[1].strip() == str(nodes["a"].uuid)
    assert [line.split()[0] for line in lines[2:]] == ["0"] * 4


def test_the_celery_task_returns_counts_of_what_was_found(nodes: Nodes) -> None:
    silent(nodes["a"], HOUR)
    found = {"lost": 1, "recovered": 0, "settled": 0, "announced": 0, "waiting": 0}
    assert reap_lost_user_tasks() == found
