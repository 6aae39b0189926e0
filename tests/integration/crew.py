"""Processes with a database connection each, that do the same job at the same time.

    results = crew.run(jobs.finish_in_step, trees)

A job is a function of a module, called with a ``Member`` and the given arguments. Where one
process fails, or waits for the others in vain, the whole run fails with its traceback.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

#: Seconds after which a process that waits for the others gives up.
PATIENCE = 30
#: Seconds that one run may take.
LIMIT = 90


@dataclass
class Member:
    """One of the processes, as its job sees it."""

    rank: int
    size: int
    barrier: Any

    def together(self) -> None:
        """Waits until all processes are here."""
        self.barrier.wait(PATIENCE)

    def dice(self, *seeds: Any) -> random.Random:
        """Chance that is the same in each run of the tests, and another in each process."""
        return random.Random(repr((self.rank, *seeds)))


@dataclass
class Result:
    """What one process gave back, and the signals that were sent in it."""

    value: Any
    stopped: list[int]
    finished: list[tuple[int, str]]


class Crew:
    """Several processes that wait for jobs."""

    def __init__(self, size: int, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.size = size
        self._barrier = context.Barrier(size)
        self._members = []
        for rank in range(size):
            here, there = context.Pipe()
            member = Member(rank, size, self._barrier)
            process = context.Process(target=_serve, args=(member, there, url), daemon=True)
            process.start()
            there.close()
            self._members.append((process, here))

    def run(self, job: Callable[..., Any], *args: Any) -> list[Result]:
        """What each process gives back; raises where one of them has raised."""
        for _, pipe in self._members:
            pipe.send((job, args))
        deadline = time.monotonic() + LIMIT
        answers = []
        for process, pipe in self._members:
            if not pipe.poll(max(0.0, deadline - time.monotonic())):
                self.dismiss()
                raise AssertionError(f"{job.__name__}: no answer within {LIMIT} s")
            try:
                answers.append(pipe.recv())
            except EOFError:
                self.dismiss()
                raise AssertionError(f"{job.__name__}: process {process.pid} died") from None
        failures = [answer for answer in answers if isinstance(answer, str)]
        if failures:
            self._barrier.reset()
            # Who broke the barrier comes before those whom it let down.
            failures.sort(key=lambda text: "BrokenBarrierError" in text)
            raise AssertionError(f"{len(failures)} of {self.size} failed.\n{failures[0]}")
        return answers

    def dismiss(self) -> None:
        """Ends the processes."""
        for process, pipe in self._members:
            pipe.close()
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join(5)


def stopped(results: Iterable[Result]) -> Counter[int]:
    """How often ``user_task_stopped`` was sent for which node, in all processes together."""
    return Counter(pk for result in results for pk in result.stopped)


def finished(results: Iterable[Result]) -> Counter[tuple[int, str]]:
    """How often ``workflow_finished`` was sent for which root and verdict."""
    return Counter(end for result in results for end in result.finished)


def _serve(member: Member, pipe: Any, url: str) -> None:
    os.environ["TEST_DATABASE_URL"] = url
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.db import connection

    from tests.helpers import signals

    if os.environ.get("TEST_AS_MYSQL"):
        # As in tests/conftest.py, whose fixtures do not reach here.
        features = type(connection.features)
        features.can_return_columns_from_insert = False
        features.can_return_rows_from_bulk_insert = False
        features.update_can_self_select = False
    while True:
        try:
            job, args = pipe.recv()
        except EOFError:
            return
        try:
            with signals() as heard:
                value = job(member, *args)
            ends = [(pk, str(verdict)) for pk, verdict in heard["finished"]]
            pipe.send(Result(value, heard["stopped"], ends))
        except Exception:
            member.barrier.abort()
            pipe.send(traceback.format_exc())
