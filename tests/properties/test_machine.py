"""Whatever happens to a tree, in any order, it tells the truth: a state machine without Celery.

Another tree like it stands beside it, to which nothing happens.

Workers start, count, grow, end, retry, die between any two writes, fall silent; messages arrive
twice or late; users cancel. Each write commits by itself, as in a worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.utils.timezone import now
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.helpers import a_user, assert_tree_is_sound, signals
from tests.properties import canvases
from user_workflows.exceptions import TaskCanceledException
from user_workflows.lifecycle import cancellation, containers, progress, steps, transitions
from user_workflows.maintenance import reaper
from user_workflows.models import UserTaskStatus
from user_workflows.phases import REPLACES, Child, Phase, verdict
from user_workflows.queues.celery import spawning, submission

WAITING = (Phase.PENDING, Phase.RETRYING)
LONG = timedelta(minutes=30)
#: Columns of a settled node that may change: it is moved, and its end is told to the world.
MOVING = ("lft", "rght", "finished_sent_at")
#: What a page shows of a node, and asks for when it has changed.
SHOWN = ("phase", "state", "attempts", "caused_by_id", "is_container", "node_type", "is_settled")
STEPS = ("completed_steps", "total_steps")

numbers = st.integers(0, 40)
outcomes = st.sampled_from([Phase.SUCCEEDED, Phase.FAILED])
_task = ("task", "succeed", False, 2, True, True)
#: What running tasks make: often a chain, whose failure must stay where nobody waits for it.
grown = st.one_of(canvases.shapes(3), st.just(("chain", [_task, _task])))


class Died(BaseException):
    """The process is killed."""


@contextmanager
def dying(before_write: int) -> Iterator[None]:
    """The process dies before its so many-th write; not between a signal and the note of it."""
    left = before_write

    def count(execute: Any, sql: str, *args: Any) -> Any:
        nonlocal left
        notes = 'SET "finished_sent_at"' in sql.replace("`", '"')  # MySQL's quotes.
        if sql.startswith(("UPDATE", "INSERT", "DELETE")) and not notes:
            left -= 1
            if left == 0:
                raise Died
        return execute(sql, *args)

    with suppress(Died), connection.execute_wrapper(count):
        yield


def columns(row: UserTaskStatus) -> dict[str, Any]:
    """Return all stored values of a row."""
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


class ImmediateWriter(progress.ProgressWriter):
    """Rolls up at once: a thread would write between two looks."""

    def note_tree(self, tree_id: int) -> None:
        steps.roll_up(tree_id, every=timedelta(0))

    def wake(self) -> None:
        pass


class Machine(RuleBasedStateMachine):
    """One tree, as the database has it, and the little that the database does not remember."""

    rows: dict[int, UserTaskStatus]

    @initialize(shape=canvases.shapes(8, empty_groups=True))
    def submit(self, shape: canvases.Shape) -> None:
        self.other = self._store(shape)
        self.others = self.read_other()
        self._signals = signals()
        self.heard = self._signals.__enter__()
        self.told: list[tuple[set[str], bool]] = []
        self._receivers, cancellation.tasks_revoked.receivers = (
            cancellation.tasks_revoked.receivers,
            [],
        )
        cancellation.tasks_revoked.connect(self._be_told, weak=False)
        self._writer = progress.use_writer(ImmediateWriter())
        self._writer.__enter__()
        self.rows = {}
        self.own: dict[int, str] = {}  # What a task that grew was before its children counted.
        self.loose: set[int] = set()
        self.unheard: set[int] = set()  # Settled by a process that died before it could say so.
        self.half_done = False
        self.dead: set[int] = set()  # Leaves whose process has died in the middle of their end.
        self.sound = False
        self.tree_id = self._store(shape)
        self.look()

    def _store(self, shape: canvases.Shape) -> int:
        plan = canvases.plan(canvases.item(shape))
        for node in plan.walk():
            node.task_id = str(uuid4())
        return submission.store_plan(plan, user_id=a_user().pk).tree_id

    def _be_told(self, task_ids: list[str], terminate: bool, **kwargs: Any) -> None:
        self.told.append((set(task_ids), terminate))

    # -- looking ----------------------------------------------------------------------------------

    def look(self) -> None:
        query = UserTaskStatus.objects.filter(tree_id=self.tree_id).order_by("lft")
        self.rows = {row.pk: row for row in query}
        self.below: dict[int | None, list[UserTaskStatus]] = {}
        for row in self.rows.values():
            self.below.setdefault(row.parent_id, []).append(row)

    def children(self, row: UserTaskStatus) -> list[UserTaskStatus]:
        return self.below.get(row.pk, [])

    def leaves(self, row: UserTaskStatus | None = None) -> Iterator[UserTaskStatus]:
        top = row or self.rows[self.tree_id]
        if top.node_type == "task":
            yield top
        for child in self.children(top):
            yield from self.leaves(child)

    def bodies(self) -> list[UserTaskStatus]:
        """Leaves that a worker runs now."""
        return [leaf for leaf in self.begun() if leaf.pk not in self.dead]

    def begun(self) -> list[UserTaskStatus]:
        """Leaves that a worker runs now for all that is known."""
        return [
            leaf for leaf in self.leaves()
            if leaf.settled_at is None and leaf.ended_at is None
            and leaf.phase not in WAITING and leaf.last_seen_at is not None
        ]  # fmt: skip

    def over(self) -> list[UserTaskStatus]:
        """Leaves whose own work has ended for good."""
        return [leaf for leaf in self.leaves() if leaf.settled_at or leaf.ended_at]

    def startable(self) -> list[UserTaskStatus]:
        """Leaves whose message a worker may get now."""
        return [
            leaf for leaf in self.leaves()
            if leaf.settled_at is None and leaf.ended_at is None and leaf.phase in WAITING
            and all(self.went_well(before) for before in self.awaited(leaf))
        ]  # fmt: skip

    def awaited(self, row: UserTaskStatus) -> list[UserTaskStatus]:
        """The nodes whose success this one needs: those before it, on each level above."""
        found: list[UserTaskStatus] = []
        while row.parent_id is not None and row.pk not in self.loose:
            parent = self.rows[row.parent_id]
            siblings = self.children(parent)
            place = siblings.index(row)
            if parent.node_type in ("chain", "chord"):
                found += siblings[:place]
            elif parent.node_type == "link" and place:
                found += siblings[:1]
            row = parent
        return found

    def parts_awaited(self, row: UserTaskStatus) -> list[UserTaskStatus]:
        """The children of a node that Celery waits for before it goes on behind it."""
        children = self.children(row)
        if row.node_type == "link":
            return children[:1]
        return [child for child in children if child.pk not in self.loose]

    def went_well(self, row: UserTaskStatus) -> bool:
        if not all(self.went_well(part) for part in self.parts_awaited(row)):
            return False
        if row.node_type != "task":
            return True
        if row.settled_at is None and row.ended_at is None:
            return False
        phase = self.own.get(row.pk, row.phase)
        return phase == Phase.SUCCEEDED or (phase == Phase.FAILED and row.allow_failure)

    def is_broken(self, row: UserTaskStatus) -> bool:
        """Whether a task in it that others wait for can no longer go well."""
        if row.node_type == "task":
            phase = self.own.get(row.pk, row.phase)
            if phase in (Phase.CANCELED, Phase.SKIPPED):
                return True
            if phase == Phase.FAILED and not row.allow_failure:
                return True
        return any(self.is_broken(part) for part in self.parts_awaited(row))

    def pick(self, found: list[UserTaskStatus], number: int) -> UserTaskStatus:
        return found[number % len(found)]

    # -- what workers do --------------------------------------------------------------------------

    @precondition(lambda self: self.startable())
    @rule(number=numbers)
    def start(self, number: int) -> None:
        leaf = self.pick(self.startable(), number)
        assert transitions.begin(leaf, leaf.attempts, last_seen_at=now())
        containers.mark_running(leaf.parent_id)

    @precondition(lambda self: self.bodies())
    @rule(number=numbers)
    def redeliver(self, number: int) -> None:
        leaf = self.pick(self.bodies(), number)
        begun = transitions.begin(leaf, leaf.attempts + 1, last_seen_at=now(), completed_steps=0)
        assert begun == (leaf.phase == Phase.RUNNING)

    @precondition(lambda self: self.bodies())
    @rule(number=numbers, more=st.booleans())
    def progress(self, number: int, more: bool) -> None:
        leaf = self.pick(self.bodies(), number)
        if more:
            leaf.increment_total_steps(1)
        if leaf.phase == Phase.CANCELED:
            with pytest.raises(TaskCanceledException):
                leaf.increment_completed_steps()
        else:
            leaf.increment_completed_steps()

    @precondition(lambda self: self.bodies())
    @rule(number=numbers, fails=st.booleans())
    def say(self, number: int, fails: bool) -> None:
        leaf = self.pick(self.bodies(), number)
        said = leaf.phase
        if fails:
            leaf.fail("why")
        else:
            leaf.succeed()
        leaf.refresh_from_db()
        if leaf.ended_at and self.children(leaf):  # It had said so before.
            self.own[leaf.pk] = said

    @precondition(lambda self: self.bodies())
    @rule(number=numbers, outcome=outcomes)
    def end(self, number: int, outcome: Phase) -> None:
        leaf = self.pick(self.bodies(), number)
        self.note_own(leaf, outcome)
        assert transitions.settle(leaf, outcome, message="why", attempt=leaf.attempts)

    @precondition(lambda self: self.bodies())
    @rule(number=numbers)
    def retry(self, number: int) -> None:
        leaf = self.pick(self.bodies(), number)
        if leaf.phase not in REPLACES[Phase.RETRYING]:
            self.note_own(leaf, Phase.FAILED)
        transitions.retry(leaf, leaf.attempts)

    def note_own(self, leaf: UserTaskStatus, outcome: Phase) -> None:
        if self.children(leaf):
            self.own[leaf.pk] = outcome if leaf.phase in REPLACES[outcome] else leaf.phase

    # -- growing ----------------------------------------------------------------------------------

    @precondition(lambda self: self.growing())
    @rule(number=numbers, shape=grown, replace=st.booleans())
    def grow(self, number: int, shape: canvases.Shape, replace: bool) -> None:
        leaf = self.pick(self.growing(), number)
        plan = canvases.plan(canvases.item(shape))
        for node in plan.walk():
            node.task_id = str(uuid4())
        total = self.rows[self.tree_id].tree().total_steps
        if replace:
            [*_, last] = plan.leaves()
            last.task_id = leaf.task_id
            spawning.attach_subtree(leaf, plan, in_place_of=leaf.replaced_nesting)
            total -= leaf.total_steps
        else:
            plan.allow_failure = True
            self.loose.add(spawning.attach_subtree(leaf, plan).pk)
        after = self.rows[self.tree_id].tree().total_steps
        assert after == total + plan.total_steps

    @precondition(lambda self: self.growing())
    @rule(number=numbers, cancels=st.booleans())
    def send_what_fails(self, number: int, cancels: bool) -> None:
        """A task sends a chain, whose first task soon fails or is canceled."""
        leaf = self.pick(self.growing(), number)
        others = {other.pk: other.phase for other in self.leaves()}
        self.grow(self.growing().index(leaf), ("chain", [_task, _task]), False)
        self.look()
        first = next(new for new in self.leaves() if new.pk not in others)
        if cancels:
            first.cancel()
        else:
            assert transitions.begin(first, 1, last_seen_at=now())
            assert transitions.settle(first, Phase.FAILED, attempt=1)
        self.look()
        assert others == {pk: self.rows[pk].phase for pk in others}

    def growing(self) -> list[UserTaskStatus]:
        return [leaf for leaf in self.bodies() if leaf.phase == Phase.RUNNING and leaf.level < 12]

    # -- what users do ----------------------------------------------------------------------------

    @rule(number=numbers, force=st.booleans())
    def cancel(self, number: int, force: bool) -> None:
        top = self.pick(list(self.rows.values()), number)
        before = list(self.leaves(top))
        others = {leaf.pk: leaf.phase for leaf in self.leaves() if leaf not in before}
        bodies = {leaf.task_id for leaf in self.begun() if leaf in before}
        self.told.clear()
        done = top.cancel(force=force)
        assert done.pending + done.running + done.finished <= len(before)
        self.look()
        for leaf in self.leaves(self.rows[top.pk]):
            assert leaf.settled_at or leaf.ended_at or leaf.task_id in bodies
            # One that has ended is what the tasks that it has sent make of it.
            decided = leaf.settled_at or (leaf.ended_at and self.children(leaf))
            assert decided or leaf.phase not in (*WAITING, Phase.RUNNING)
            if self.children(leaf) and leaf.settled_at is None:
                self.own[leaf.pk] = self.own.get(leaf.pk, leaf.phase)
        for pk, phase in others.items():
            leaf = self.rows[pk]
            if leaf.ended_at is None:  # Else what it has sent may decide what it is.
                may_be = {phase, Phase.SKIPPED} if phase == Phase.PENDING else {phase}
                assert leaf.phase in may_be, (leaf.name, phase, leaf.phase)
        killed = [ids for ids, terminate in self.told if terminate]
        assert all(ids <= bodies for ids in killed)
        assert force or not killed

    # -- what goes wrong --------------------------------------------------------------------------

    @precondition(lambda self: self.bodies())
    @rule(number=numbers, outcome=outcomes, before_write=st.integers(2, 7))
    def die_at_the_end(self, number: int, outcome: Phase, before_write: int) -> None:
        leaf = self.pick(self.bodies(), number)
        self.note_own(leaf, outcome)
        with dying(before_write):
            transitions.settle(leaf, outcome, message="why", attempt=leaf.attempts)
        leaf.refresh_from_db()
        if not (leaf.ended_at or leaf.settled_at):
            self.note_own(leaf, Phase.FAILED)  # As the reaper will find it.
        self.dead.add(leaf.pk)
        self.note_death()

    @rule(number=numbers, before_write=st.integers(2, 9))
    def die_while_canceling(self, number: int, before_write: int) -> None:
        top = self.pick(list(self.rows.values()), number)
        with dying(before_write):
            top.cancel()
        self.note_death()

    def note_death(self) -> None:
        settled = UserTaskStatus.objects.filter(tree_id=self.tree_id).settled()
        self.unheard |= set(settled.values_list("pk", flat=True)) - set(self.heard["stopped"])
        self.half_done = True

    @precondition(lambda self: self.half_done)
    @rule()
    def reap(self) -> None:
        self.wait()
        reaper.reap()
        self.half_done = False
        first = {pk: columns(row) for pk, row in self.read().items()}
        again = reaper.reap()
        assert (again.settled, again.announced, again.lost) == ([], [], [])
        assert first == {pk: columns(row) for pk, row in self.read().items()}

    @precondition(lambda self: any(leaf.settled_at is None for leaf in self.bodies()))
    @rule(number=numbers)
    def lose(self, number: int) -> None:
        leaf = self.pick(self.bodies(), number)
        self.note_own(leaf, Phase.FAILED)
        self.wait()
        UserTaskStatus.objects.filter(pk=leaf.pk).update(last_seen_at=now() - LONG)
        lost = {leaf.uuid, *(self.rows[pk].uuid for pk in self.dead)}
        others = {other.pk: other.phase for other in self.bodies() if other.pk != leaf.pk}
        assert leaf.uuid in (found := reaper.reap().lost)
        assert set(found) <= lost
        self.look()
        assert others == {pk: self.rows[pk].phase for pk in others}
        self.half_done = False

    def wait(self) -> None:
        """Lets half an hour pass for what has ended, or whose process has died."""
        ended = UserTaskStatus.objects.filter(tree_id=self.tree_id).settled()
        ended.order_by().update(settled_at=F("settled_at") - LONG)
        dead = UserTaskStatus.objects.filter(pk__in=self.dead)
        dead.update(last_seen_at=F("last_seen_at") - LONG)
        self.look()

    def read(self) -> dict[int, UserTaskStatus]:
        return UserTaskStatus.objects.filter(tree_id=self.tree_id).in_bulk()

    def read_other(self) -> list[Any]:
        return list(UserTaskStatus.objects.filter(tree_id=self.other).order_by("pk").values_list())

    @precondition(lambda self: self.over())
    @rule(number=numbers, outcome=outcomes, event=st.sampled_from(["begin", "end", "retry"]))
    def hear_too_late(self, number: int, outcome: Phase, event: str) -> None:
        leaf = self.pick(self.over(), number)
        before = {pk: columns(row) for pk, row in self.read().items()}
        if event == "begin":
            assert not transitions.begin(leaf, leaf.attempts + 1, last_seen_at=now())
        elif event == "end":
            assert not transitions.settle(leaf, outcome, message="late", attempt=leaf.attempts)
        else:
            transitions.retry(leaf, leaf.attempts)
        assert before == {pk: columns(row) for pk, row in self.read().items()}

    @precondition(lambda self: any(leaf.attempts > 1 for leaf in self.leaves()))
    @rule(number=numbers, outcome=outcomes)
    def hear_of_an_older_attempt(self, number: int, outcome: Phase) -> None:
        leaf = self.pick([leaf for leaf in self.leaves() if leaf.attempts > 1], number)
        before = {pk: columns(row) for pk, row in self.read().items()}
        assert not transitions.settle(leaf, outcome, attempt=leaf.attempts - 1)
        transitions.retry(leaf, leaf.attempts - 1)
        assert before == {pk: columns(row) for pk, row in self.read().items()}

    # -- what must hold ---------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.sound = False
        before = self.rows
        self.look()
        assert_tree_is_sound(self.tree_id)
        self.check_what_stays(before)
        self.check_sums()
        for row in self.rows.values():
            self.check_verdict(row)
            if not self.half_done:
                self.check_settled(row)
        self.check_signals()
        assert self.read_other() == self.others
        self.sound = True

    def check_what_stays(self, before: dict[int, UserTaskStatus]) -> None:
        for pk, old in before.items():
            new = self.rows[pk]
            if old.settled_at is not None:
                changed = {k for k, v in columns(new).items() if columns(old)[k] != v}
                assert not changed - set(MOVING), (new.name, changed)
            if old.node_type == new.node_type == "task" and not self.children(new):
                stays = (Phase.FAILED, Phase.CANCELED, Phase.SKIPPED)
                assert old.phase == new.phase or old.phase not in stays, (new.name, new.phase)
            assert new.attempts >= old.attempts
            # Who asks for what has changed since then must get it; sums are added up then.
            shown = (*SHOWN, *STEPS) if new.node_type == "task" else SHOWN
            changed = [name for name in shown if getattr(old, name) != getattr(new, name)]
            assert not changed or new.modified > old.modified, (new.name, changed)

    def check_sums(self) -> None:
        for node in self.rows[self.tree_id].tree().walk():
            row = self.rows[node.pk]
            leaves = list(self.leaves(row))
            done = sum(min(leaf.completed_steps, leaf.total_steps) for leaf in leaves)
            steps = sum(leaf.total_steps for leaf in leaves)
            assert (node.completed_steps, node.total_steps) == (done, steps), row.name
            if row.settled_at is not None and row.node_type != "task" and not self.half_done:
                stored = (row.completed_steps, row.total_steps)
                assert stored == (done, steps) or row.phase == Phase.SKIPPED, row.name

    def check_verdict(self, row: UserTaskStatus) -> None:
        children = self.children(row)
        if row.node_type == "task" and not children:
            return
        found = [Child(Phase(c.phase), c.allow_failure, c.is_settled) for c in children]
        if row.node_type == "task":
            own = Phase(self.own.get(row.pk, row.phase))
            found.append(Child(own, False, row.ended_at is not None))
        shown, right = Phase(row.phase), verdict(found)
        if row.settled_at is not None:
            nothing_ran = all(leaf.phase == Phase.SKIPPED for leaf in self.leaves(row))
            assert shown is right or (shown is Phase.SKIPPED and nothing_ran), (row.name, right)
        elif row.node_type != "task" and not self.half_done:
            # What a task has sent and nobody waits for decides with the last of all.
            waited = [
                Child(Phase(self.own.get(c.pk, c.phase)), c.allow_failure, c.is_settled)
                for c in children
                if c.pk not in self.loose
            ]
            right = verdict(waited)
            assert shown is right or not right.is_terminal, (row.name, shown, right)

    def check_settled(self, row: UserTaskStatus) -> None:
        where = (row.name, row.phase)
        children = self.children(row)
        if children or row.node_type != "task":
            done = all(child.is_settled for child in children)
            if row.node_type == "task":
                done = done and row.ended_at is not None
            assert row.is_settled == done, where
        if row.node_type == "task" and row.phase == Phase.PENDING:
            assert not any(self.is_broken(before) for before in self.awaited(row)), where
        if row.node_type == "task" and row.phase == Phase.SKIPPED:
            gone = (Phase.FAILED, Phase.CANCELED, Phase.SKIPPED)
            assert any(before.phase in gone for before in self.awaited(row)), where

    def check_signals(self) -> None:
        stopped, order = self.heard["stopped"], {}
        for place, pk in enumerate(stopped):
            assert pk not in order, f"{self.rows[pk].name} was announced twice"
            order[pk] = place
        settled = {row.pk for row in self.rows.values() if row.is_settled}
        assert set(stopped) <= settled
        assert settled - set(stopped) <= self.unheard
        for pk in stopped:
            parent = self.rows[pk].parent_id
            assert parent not in order or order[pk] < order[parent]
        root = self.rows[self.tree_id]
        if not self.half_done:
            expected = [(root.pk, root.phase)] if root.is_settled else []
            assert self.heard["finished"] == expected
        assert len(self.heard["finished"]) <= 1

    # -- the end ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.sound:
                self.drive_to_the_end()
        finally:
            self._signals.__exit__(None, None, None)
            self._writer.__exit__(None, None, None)
            cancellation.tasks_revoked.receivers = self._receivers
            cancellation.tasks_revoked.sender_receivers_cache.clear()
            UserTaskStatus.objects.filter(tree_id__in=(self.tree_id, self.other)).delete()

    def drive_to_the_end(self) -> None:
        """Workers do all that is left to do; then the root is settled, and that was told."""
        if self.half_done:
            self.reap()
            self.holds()
        for _ in range(200):
            if self.bodies():
                self.end(0, Phase.SUCCEEDED)
            elif self.startable():
                self.start(0)
            else:
                break
            self.look()
        self.holds()
        assert all(row.is_settled for row in self.rows.values())
        assert len(self.heard["finished"]) == 1


@pytest.mark.django_db(transaction=True)
def test_any_sequence_of_events_keeps_all_invariants() -> None:
    examples = int(os.environ.get("HYPOTHESIS_EXAMPLES", 15))
    how = settings(max_examples=examples, stateful_step_count=20)
    run_state_machine_as_test(Machine, settings=how)
