"""Random events on random trees, without Celery, in any order that workers could bring about.

The order is hypothesis' choice. After each event the stored tree must say what the oracle says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils.timezone import now
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_tree_is_sound, signals
from tests.properties import canvases, oracle
from tests.properties.oracle import Item
from tests.properties.test_eager import assert_signals_were_sent_once_in_order
from user_workflows.lifecycle import containers, transitions
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import submission

trees = st.one_of(
    canvases.shapes(6, empty_groups=True, long_callbacks=True), canvases.with_allowed_branches(3)
)

pytestmark = pytest.mark.django_db


class Run:
    """A stored tree and the oracle's, to which the same things happen."""

    def __init__(self, item: Item, user: Any, *, cancels: bool) -> None:
        self.item = item
        self.cancels = cancels
        self.history: list[str] = []
        self.canceled: set[str] = set()
        root = submission.store_plan(canvases.plan(item), user_id=user.pk)
        self.tree_id = root.tree_id
        self.pks = {node.name: node.pk for node in root.tree().walk()}

    def row(self, item: Item) -> UserTaskStatus:
        return UserTaskStatus.objects.get(pk=self.pks[item.name])

    # -- what may happen next -------------------------------------------------------------------

    def possible(self) -> list[Callable[[], None]]:
        """Events that move the tree on, as a worker or a user could cause them now."""
        found: list[Callable[[], None]] = []
        for leaf in self.item.leaves():
            if leaf.settled:
                continue
            waiting = leaf.phase in ("PENDING", "RETRYING")
            if waiting and oracle.is_ready(leaf):
                found.append(partial(self.begin, leaf))
            if not waiting:
                found += [partial(self.end, leaf, how) for how in ("SUCCEEDED", "FAILED")]
                if leaf.attempt == 1:
                    found.append(partial(self.retry, leaf))
            if leaf.phase == "RUNNING":
                said = ("FAILED", "SUCCEEDED")
                found += [partial(self.say, leaf, how) for how in said]
                if leaf.done < 3:
                    found.append(partial(self.advance, leaf))
        if self.cancels:
            found += [partial(self.cancel, item) for item in self.item.walk()]
        return found

    def impossible(self) -> list[Callable[[], None]]:
        """Late and duplicate events, which must change nothing."""
        found: list[Callable[[], None]] = []
        for leaf in self.item.leaves():
            if leaf.settled:
                found.append(partial(self.begin, leaf))
                found += [partial(self.end, leaf, how) for how in ("SUCCEEDED", "FAILED")]
            if leaf.attempt > 1 and leaf.phase in ("RETRYING", "RUNNING"):
                found.append(partial(self.end_of_first_attempt, leaf))
        return found

    # -- events -----------------------------------------------------------------------------------

    def begin(self, leaf: Item) -> None:
        row = self.row(leaf)
        runs = transitions.begin(row, leaf.attempt, last_seen_at=now())
        if runs:
            containers.mark_running(row.parent_id)
        assert runs == oracle.begin(leaf)

    def end(self, leaf: Item, how: str) -> None:
        was_open = not leaf.settled
        ended = transitions.settle(self.row(leaf), Phase(how), attempt=leaf.attempt)
        assert ended == was_open
        if was_open:
            oracle.end(leaf, how)

    def end_of_first_attempt(self, leaf: Item) -> None:
        assert not transitions.settle(self.row(leaf), Phase.FAILED, attempt=1)

    def retry(self, leaf: Item) -> None:
        transitions.retry(self.row(leaf), leaf.attempt)
        oracle.retry(leaf)

    def say(self, leaf: Item, how: str) -> None:
        transitions.change_phase(
            self.row(leaf), Phase(how), message="why" if how == "FAILED" else ""
        )
        oracle.say(leaf, how)

    def advance(self, leaf: Item) -> None:
        self.row(leaf).increment_completed_steps()
        leaf.done += 1

    def cancel(self, item: Item) -> None:
        self.row(item).cancel()
        oracle.cancel(item)

    # -- what must hold -------------------------------------------------------------------------

    def do(self, event: Callable[[], None]) -> None:
        assert isinstance(event, partial)
        names = [getattr(arg, "name", arg) for arg in event.args]
        self.history.append(f"{event.func.__name__}({', '.join(names)})")
        event()
        self.check()

    def check(self) -> None:
        rows = UserTaskStatus.objects.in_bulk(list(self.pks.values()))
        failed = {self.pks[i.name] for i in self.item.walk() if oracle.phase(i) == "FAILED"}
        tree = self.row(self.item).tree()
        for node, seen in zip(tree.walk(), self.item.walk(), strict=True):
            row, where = rows[node.pk], f"{seen.name} after {self.history}"
            if oracle.phase(seen) == "CANCELED":
                self.canceled.add(seen.name)
            # Once shown, that stays until all has ended, though a branch that was canceled and
            # is allowed to fail has failed meanwhile.
            stays = seen.name in self.canceled and not row.is_settled and row.is_container
            assert row.phase == oracle.phase(seen) or (stays and row.phase == "CANCELED"), where
            assert row.state == Phase(row.phase).state, where
            assert row.is_settled == oracle.is_settled(seen), where
            assert (node.completed_steps, node.total_steps) == oracle.sums(seen), where
            if row.is_settled:
                stored = (row.completed_steps, row.total_steps)
                assert stored == oracle.sums(seen), where
            if seen.cause is not None:
                assert row.caused_by_id == self.pks[seen.cause], where
            if row.phase == "SKIPPED" and seen.kind != "task":
                assert row.caused_by_id is not None, where
            if row.phase == "FAILED" and row.is_container:
                assert row.caused_by_id in failed, where


def play(data: st.DataObject, run: Run) -> None:
    """Lets things happen until nothing is left to happen."""
    run.check()
    was_late = False
    for _ in range(300):
        if oracle.is_settled(run.item):
            break
        events = run.possible()
        if run.cancels and len(run.history) < 3:
            events = [event for event in events if event.func.__name__ != "cancel"] or events
        late = run.impossible()
        was_late = bool(late) and not was_late and data.draw(st.integers(0, 4)) == 0
        if was_late:
            events = late
        run.do(events[data.draw(st.integers(0, len(events) - 1))])
    assert oracle.is_settled(run.item)
    for event in run.impossible():
        run.do(event)


@pytest.mark.parametrize("cancels", [False, pytest.param(True)], ids=["run", "run and cancel"])
def test_random_events_leave_the_tree_that_the_oracle_expects(user: Any, cancels: bool) -> None:
    @given(shape=trees, data=st.data())
    def check(shape: canvases.Shape, data: st.DataObject) -> None:
        with transaction.atomic(), signals() as heard:
            run = Run(canvases.item(shape), user, cancels=cancels)
            play(data, run)
            tree = run.row(run.item).tree()
            assert_tree_is_sound(run.tree_id)
            assert_signals_were_sent_once_in_order(heard, tree)
            transaction.set_rollback(True)

    check()
