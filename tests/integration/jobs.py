"""What the processes of a crew do, as Celery's handlers would have them do it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from django.core.management import call_command
from django.db import transaction
from django.utils.timezone import now

from user_workflows.lifecycle import containers, progress, transitions
from user_workflows.lifecycle.execution import Execution
from user_workflows.maintenance import reaper
from user_workflows.models import UserTaskStatus
from user_workflows.phases import TERMINAL, NodeType, Phase
from user_workflows.queues.celery import submission

from .checks import assert_intact
from .crew import PATIENCE, Member, Result
from .planned import by_name, group_of, nested, stored

objects = UserTaskStatus.objects


def read(pk: int) -> UserTaskStatus:
    return objects.get(pk=pk)


def enter(pk: int) -> Execution | None:
    """As the gate does: the run of a leaf, None where it must not start."""
    node = read(pk)
    if node.settled_at is not None or node.phase in TERMINAL:
        return None
    attempt = node.attempts
    if not transitions.begin(node, attempt, last_seen_at=now()):
        return None
    containers.mark_running(node.parent_id)
    return Execution(node, attempt, buffered=True)


def work(run: Execution, steps: int) -> None:
    """Progress as it is written in a worker, with the roll-up thread behind it."""
    run.add(completed=steps)
    progress.flush(run)


def end(run: Execution, phase: Phase, message: str = "") -> bool:
    return transitions.settle(run.node, phase, message=message, attempt=run.attempt)


# -- finishing ------------------------------------------------------------------------------------


def finish_in_step(
    me: Member, trees: list[dict[str, int]], fates: dict[int, str], how: str = "autocommit"
) -> None:
    """Each process ends one leaf of a ``nested`` tree at the same instant, then body, then tail.

    Arguments:
        trees: the keys of each tree's nodes, by name.
        fates: why which leaf fails, by key; the others succeed.
        how: "autocommit", "atomic" for a transaction around each end, or "mixed".
    """
    for number, pks in enumerate(trees):
        mine = [pks[str(i)] for i in range(me.rank, len(pks) - 7, me.size)]
        later = [pks["body"]] * ((number + 1) % me.size == me.rank)
        last = [pks["tail"]] * ((number + 2) % me.size == me.rank)
        for stage in (mine, later, last):
            me.together()
            runs = [run for run in map(enter, stage) if run is not None]
            for run in runs:
                work(run, run.node.total_steps - 1)
            me.together()
            for run in runs:
                with _transaction(how, me):
                    message = fates.get(run.pk, "")
                    end(run, Phase.FAILED if message else Phase.SUCCEEDED, message)
                    read(run.pk)  # A transaction goes on for a while.
    progress.finish()


def _transaction(how: str, me: Member) -> AbstractContextManager[Any]:
    inside = how == "atomic" or (how == "mixed" and me.rank % 2)
    return transaction.atomic() if inside else nullcontext()


def end_two_in_one_transaction(me: Member, trees: list[dict[str, int]]) -> None:
    """Half of the processes end one leaf of either group of a ``nested`` tree, in either order."""
    for pks in trees:
        leaves = [pks[str(me.rank % 4)], pks[str(me.rank % 4 + 4)]]
        me.together()
        if me.rank < 4:
            with transaction.atomic():
                for pk in leaves[:: -1 if me.rank % 2 else 1]:
                    read(pk).succeed()
    me.together()
    for pks in trees[me.rank :: me.size]:
        for name in ("body", "tail"):
            read(pks[name]).succeed()


def end_the_same(me: Member, leaves: list[int]) -> list[tuple[int, str]]:
    """All processes report an end of the same leaf at once, and not the same one."""
    won = []
    for number, pk in enumerate(leaves):
        node = read(pk)
        me.together()
        event = (me.rank + number) % 4
        if event == 3:
            transitions.retry(node, node.attempts)
            continue
        phase = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED)[event]
        message = f"said by {me.rank}" if phase is Phase.FAILED else ""
        if transitions.settle(node, phase, message=message):
            won.append((pk, str(phase)))
    return won


def settle_again(me: Member, leaves: list[int]) -> int:
    """As a redelivered message or a second signal would have it; how many it settled."""
    return sum(transitions.settle(read(pk), Phase.SUCCEEDED) for pk in leaves)


# -- canceling ------------------------------------------------------------------------------------


def run_or_cancel(
    me: Member, trees: list[dict[str, int]], cancels: list[list[str]]
) -> dict[str, Any]:
    """The first processes run the leaves of ``branches`` trees while the last ones cancel.

    Arguments:
        cancels: for each tree, the name of the node that each of the last processes cancels.

    Returns:
        Leaves found canceled after a cancellation; those that it left going; those ended as
        succeeded. By key.
    """
    seen: dict[str, Any] = {"canceled": set(), "missed": [], "succeeded": set()}
    workers = me.size - len(cancels[0])
    for number, pks in enumerate(trees):
        dice = me.dice(number)
        me.together()
        if me.rank >= workers:
            for _ in range(dice.randrange(12)):
                read(pks["root"])  # Some way into the work.
            _cancel(read(pks[cancels[number][me.rank - workers]]), seen)
            continue
        for name in _in_order(pks, me.rank, workers):
            if "." not in name or _has_succeeded(pks[f"first {name[0]}"]):
                _run(pks[name], dice, seen)
    me.together()
    # What comes after a branch that was not canceled has not run yet.
    for number, pks in enumerate(trees):
        if number % me.size == me.rank:
            for name in ("body", "tail"):
                _run(pks[name], me.dice(name), seen)
    return seen


def _cancel(node: UserTaskStatus, seen: dict[str, Any]) -> None:
    node.cancel()
    leaves = objects.filter(
        tree_id=node.tree_id, lft__gte=node.lft, rght__lte=node.rght, node_type=NodeType.TASK
    )
    for pk, phase, settled_at in leaves.values_list("pk", "phase", "settled_at"):
        if phase == Phase.CANCELED:
            seen["canceled"].add(pk)
        elif settled_at is None and phase not in TERMINAL:
            seen["missed"].append((node.name, pk, phase))


def _in_order(pks: dict[str, int], rank: int, workers: int) -> Iterable[str]:
    """One process runs a branch's first task; all share what comes after."""
    firsts = [name for name in pks if name.startswith("first ")]
    yield from firsts[rank::workers]
    inner = [name for name in pks if "." in name]
    yield from inner[rank::workers]


def _has_succeeded(pk: int) -> bool:
    """Waits for the first task of a branch: Celery sends no other before."""
    deadline = time.monotonic() + PATIENCE
    while (node := read(pk)).settled_at is None:
        assert time.monotonic() < deadline, f"{node.name} is {node.phase} for ever"
        time.sleep(0.002)
    return node.phase == Phase.SUCCEEDED


def _run(pk: int, dice: Any, seen: dict[str, Any]) -> None:
    for _ in range(3):
        run = enter(pk)
        if run is None:
            return
        if dice.random() < 0.3:
            work(run, 1)
        turn = dice.random()
        if turn < 0.25:
            transitions.retry(run.node, run.attempt)
        elif turn < 0.35:
            read(pk).fail("It gave up.")  # A verdict in the body; the leaf stays open.
            end(run, Phase.SUCCEEDED)
            return
        else:
            end(run, Phase.SUCCEEDED)
            if read(pk).phase == Phase.SUCCEEDED:
                seen["succeeded"].add(pk)
            return
    run = enter(pk)
    if run is not None:
        end(run, Phase.SUCCEEDED)


# -- inserting, counting --------------------------------------------------------------------------


def insert(me: Member, root_pk: int, parents: list[int], count: int) -> list[int]:
    """Child rows in django-user-tasks' way: below given nodes, and ever deeper below own ones."""
    root = read(root_pk)
    made: list[int] = []
    me.together()
    parent = parents[me.rank % len(parents)]
    for number in range(count):
        node = objects.create(
            user_id=root.user_id,
            task_id=str(uuid4()),
            name=f"{me.rank}.{number}",
            parent_id=parent,
            task_class="t",
            total_steps=1,
        )
        made.append(node.pk)
        parent = node.pk if number % 7 < 5 else parents[(me.rank + number) % len(parents)]
    return made


def submit(me: Member, user_id: int, count: int) -> list[int]:
    """Whole workflows, half of them written as plans, half as rows."""
    made = []
    me.together()
    for number in range(count):
        if number % 2:
            made.append(submission.store_plan(group_of(2), user_id=user_id).pk)
        else:
            row = {"user_id": user_id, "name": "r", "task_class": "t", "total_steps": 1}
            made.append(objects.create(task_id=str(uuid4()), **row).pk)
    return made


def count_steps(me: Member, leaves: list[int], times: int, buffered: bool) -> None:
    """Each process counts on a leaf of its own and on one that it shares with the others."""
    statuses = [read(leaves[me.rank]), read(leaves[-1])]
    runs = [Execution(status, status.attempts, buffered=True) for status in statuses]
    me.together()
    for _ in range(times):
        for status, run in zip(statuses, runs, strict=True):
            if buffered:
                work(run, 1)
            else:
                status.increment_completed_steps()
    progress.finish()


# -- where only the processes have the database ---------------------------------------------------


def prepare(me: Member, count: int, width: int) -> list[dict[str, int]]:
    """One of them makes the tables and trees; the keys of the nodes of each, by name."""
    if me.rank:
        return []
    call_command("migrate", verbosity=0)
    roots = [stored(nested(width)) for _ in range(count)]
    return [{name: n.pk for name, n in by_name(root).items()} for root in roots]


def verify(me: Member, roots: list[int], results: list[Result]) -> None:
    """One of them looks whether all is as it should be."""
    if not me.rank:
        assert_intact([read(pk) for pk in roots], results)


def settle_share(me: Member, leaves: list[int]) -> tuple[float, float]:
    """Each process ends every eighth leaf, read beforehand; when it began and was done."""
    share = list(objects.filter(pk__in=leaves[me.rank :: me.size]))
    me.together()
    start = time.time()
    for node in share:
        transitions.settle(node, Phase.SUCCEEDED, attempt=1)
    return start, time.time()


# -- reaping --------------------------------------------------------------------------------------


def reap(me: Member) -> dict[str, list[Any]]:
    """Looks for what was lost, at the same instant as all others."""
    me.together()
    return asdict(reaper.reap())
