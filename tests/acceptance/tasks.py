"""Tasks that record when their bodies really run. All add up whatever numbers they get."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, connection, transaction

from tests.acceptance.harness import DIRECTORY, PATIENCE, write
from user_workflows.tasks import UserTask


class Steps(UserTask):
    """A user task that says how many steps it has, and is called as it is tagged."""

    abstract = True

    @staticmethod
    def calculate_total_steps(arguments_dict: dict[str, Any]) -> int:
        return int(arguments_dict["steps"])

    @classmethod
    def generate_name(cls, arguments_dict: dict[str, Any]) -> str:
        return arguments_dict["tag"] or cls.__name__.rsplit(".", 1)[-1]


def total(values: Any) -> float:
    """The sum of numbers in lists in lists."""
    if isinstance(values, list | tuple):
        return sum(total(value) for value in values)
    return values or 0


def ran(task: Any, tag: str) -> None:
    request = task.request
    write("ran", tag, request.id or "", task.name, attempt=(request.retries or 0) + 1)


def released(tag: str) -> bool:
    return (Path(os.environ[DIRECTORY]) / f"{tag}.go").exists()


def wait_for_release(tag: str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE  # Longer than any test waits for what comes first.
    while not released(tag) and time.monotonic() < deadline:
        time.sleep(0.02)


# -- tasks where all is well ----------------------------------------------------------------------


@shared_task(bind=True)
def add(self: Any, *values: Any, tag: str = "", **ignored: Any) -> float:
    ran(self, tag)
    return total(values)


@shared_task(bind=True, base=Steps)
def work(self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None) -> float:
    ran(self, tag)
    for _ in range(steps):
        self.status.increment_completed_steps()
    return total(values)


@shared_task(bind=True)
def describe(self: Any, *values: Any, tag: str = "") -> float:
    """Records what the message said."""
    ran(self, tag)
    request = self.request
    info = request.delivery_info or {}
    write(
        "message",
        tag,
        request.id,
        eta=request.eta,
        expires=request.expires,
        priority=info.get("priority"),
        queue=info.get("routing_key"),
        headers=request.headers or {},
    )
    return total(values)


@shared_task(bind=True)
def echo(self: Any, *values: Any, tag: str = "", name: str = "", fails: bool = False) -> str:
    """Records what it was given, and returns its name."""
    write("ran", tag, self.request.id, self.name, name=name, values=values)
    if fails:
        raise ValueError("The oven is cold.")
    return name


@shared_task
def on_error(request: Any, error: Any, traceback: Any, tag: str = "") -> None:
    """An errback in the new way, which is called where the task failed."""
    write("errback", tag, request.id, error=str(error))


@shared_task(bind=True)
def on_error_of(self: Any, task_id: str, tag: str = "") -> None:
    """An errback in the old way, which is sent as a message."""
    write("errback", tag, task_id, self.name)


# -- tasks that fail ------------------------------------------------------------------------------


@shared_task(bind=True)
def boom(self: Any, *values: Any, tag: str = "") -> None:
    ran(self, tag)
    raise ValueError("The oven is cold.")


@shared_task(bind=True, base=Steps)
def fail_work(self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None) -> None:
    ran(self, tag)
    raise ValueError("The oven is cold.")


@shared_task(bind=True, base=Steps)
def say_failed(
    self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None
) -> float:
    """Fails in words, then returns as if nothing were wrong."""
    ran(self, tag)
    self.status.fail("There is no flour.")
    return total(values)


@shared_task(
    bind=True,
    base=Steps,
    autoretry_for=(ValueError,),
    retry_kwargs={"max_retries": 2, "countdown": 0.05},
)
def flaky(
    self: Any, *values: Any, tag: str = "", steps: int = 3, failures: int = 1, user_id: Any = None
) -> float:
    ran(self, tag)
    self.status.increment_completed_steps(2)
    self.status.set_state("Trying")  # So that the steps are written before it fails.
    if self.request.retries < failures:
        raise ValueError("Not this time.")
    self.status.increment_completed_steps(steps - 2)
    return total(values)


@shared_task(bind=True, max_retries=3)
def ask_again(self: Any, *values: Any, tag: str = "", failures: int = 1) -> float:
    ran(self, tag)
    if self.request.retries < failures:
        raise self.retry(countdown=0.05)
    return total(values)


@shared_task(bind=True)
def dawdle(self: Any, *values: Any, tag: str = "") -> None:
    ran(self, tag)
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        write("soft", tag, self.request.id)
        raise


@shared_task(bind=True)
def die(self: Any, *values: Any, tag: str = "") -> None:
    ran(self, tag)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True, base=Steps, acks_late=True, reject_on_worker_lost=True)
def die_once(self: Any, *values: Any, tag: str = "", steps: int = 2, user_id: Any = None) -> float:
    """Is killed in the middle, then does it again."""
    ran(self, tag)
    died = Path(os.environ[DIRECTORY]) / f"{tag}.died"
    for number in range(steps):
        self.status.increment_completed_steps()
        self.status.set_state(f"Step {number + 1}")  # So that the steps are written.
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return total(values)


class Prepared(Task):
    """A task class with a ``before_start`` of its own, which knows nothing of ours."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        write("before_start", kwargs.get("tag", ""), task_id)


@shared_task(bind=True, base=Prepared)
def prepared(self: Any, *values: Any, tag: str = "") -> float:
    ran(self, tag)
    return total(values)


# -- tasks that wait to be let go -----------------------------------------------------------------


@shared_task(bind=True, base=Steps)
def hold(
    self: Any, *values: Any, tag: str = "", go: str = "", steps: int = 1, user_id: Any = None
) -> float:
    """Waits, and makes no progress call before it is let go."""
    ran(self, tag)
    wait_for_release(go or tag)
    write("released", tag, self.request.id)
    time.sleep(0.6)  # Longer than what was read before counts as news.
    self.status.increment_completed_steps()
    write("went on", tag, self.request.id)
    return total(values)


@shared_task(bind=True, base=Steps)
def hold_on(self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None) -> float:
    """Waits, and takes its cancellation for an error like any other."""
    ran(self, tag)
    wait_for_release(tag)
    time.sleep(0.6)
    try:
        self.status.increment_completed_steps()
    except Exception as error:
        write("caught", tag, self.request.id, error=type(error).__name__)
        self.status.fail(f"It went wrong: {error}")
    return total(values)


@shared_task(bind=True)
def hold_plain(self: Any, *values: Any, tag: str = "", go: str = "") -> float:
    ran(self, tag)
    wait_for_release(go or tag)
    return total(values)


@shared_task(bind=True, base=Steps)
def in_transaction(
    self: Any, *values: Any, tag: str = "", steps: int = 5, way: str = "steps", user_id: Any = None
) -> float:
    """Reports from within a transaction of its own that stays open until it is let go."""
    ran(self, tag)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if way == "steps":
            self.status.increment_completed_steps(2)
        elif way == "track":
            for _ in self.track(range(2)):
                pass
        elif way == "state":
            self.status.set_state("Kneading")
        elif way == "name":
            self.status.set_name("Bread")
        elif way == "fail":
            self.status.fail("There is no yeast.")
        elif way == "succeed":
            self.status.succeed()
        write("inside", tag, self.request.id)
        wait_for_release(tag)
    write("committed", tag, self.request.id)
    return total(values)


@shared_task(bind=True, base=Steps)
def tracked_loop(
    self: Any,
    *values: Any,
    tag: str = "",
    steps: int = 1,
    pause: float = 0,
    stops_at: int = -1,
    fails: bool = False,
    watched: bool = False,
    user_id: Any = None,
) -> float:
    ran(self, tag)
    for number in self.track(range(steps)):
        if pause:
            time.sleep(pause)
        if number == stops_at:
            wait_for_release(tag)
    if fails:
        raise ValueError("All that for nothing.")
    return total(values)


@shared_task(bind=True, base=Steps)
def fails_in_loop(
    self: Any, *values: Any, tag: str = "", steps: int = 10, at: int = 5, user_id: Any = None
) -> float:
    ran(self, tag)
    for number in self.track(range(steps)):
        if number == at:
            raise ValueError("That one is burnt.")
    return total(values)


# -- tasks that lose their database ---------------------------------------------------------------


@shared_task(bind=True, base=Steps)
def cut_off(self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None) -> float:
    """Has its database connection ended by the server, and does not notice."""
    ran(self, tag)
    self.status.increment_completed_steps(steps)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except DatabaseError:
        write("cut off", tag, self.request.id)
    return total(values)


# -- tasks that make tasks ------------------------------------------------------------------------


def linked(canvas: Any, callback: Any) -> Any:
    canvas.link(callback)
    return canvas


def made(what: str, tag: str) -> Any:
    """A canvas of tasks whose tags begin with this one."""

    def one(name: str, number: int = 1) -> Any:
        return work.si(number, tag=f"{tag}.{name}")

    return {
        "task": lambda: one("x"),
        "chain": lambda: chain(one("x"), one("y", 2)),
        "group": lambda: group(one("x"), one("y", 2)),
        "chord": lambda: chord([one("x"), one("y", 2)], work.s(tag=f"{tag}.z")),
        "nested": lambda: chain(one("x"), chord([one("y"), one("v")], work.s(tag=f"{tag}.z"))),
        "linked": lambda: linked(chain(one("x"), linked(one("y", 2), one("v"))), one("z")),
        "again": lambda: become.si(tag=f"{tag}.x", into="chain"),
        "held": lambda: chain(hold.si(1, tag=f"{tag}.x"), one("y", 2)),
        "dying": lambda: die.si(tag=f"{tag}.x"),
        "failing": lambda: chain(fail_work.si(tag=f"{tag}.x"), one("y")),
    }[what]()


@shared_task(bind=True, base=Steps)
def become(
    self: Any,
    *values: Any,
    tag: str = "",
    into: str = "task",
    failures: int = 0,
    go: str = "",
    steps: int = 1,
    user_id: Any = None,
) -> Any:
    """Is replaced with something, at a later attempt or when it is let go if told."""
    ran(self, tag)
    if self.request.retries < failures:
        raise self.retry(countdown=0.05)
    if go:
        wait_for_release(go)
    return self.replace(made(into, tag))


@shared_task(bind=True, base=Steps)
def send(
    self: Any, *values: Any, tag: str = "", what: str = "task", steps: int = 1, user_id: Any = None
) -> float:
    """Sends something, and does not wait for it."""
    ran(self, tag)
    made(what, tag).apply_async()
    return total(values)


@shared_task(bind=True, base=Steps)
def add_more(self: Any, *values: Any, tag: str = "", steps: int = 1, user_id: Any = None) -> float:
    """Adds two tasks to the chord that it is in the header of."""
    ran(self, tag)
    for name, number in (("x", 10), ("y", 20)):
        self.add_to_chord(work.si(number, tag=f"{tag}.{name}"))
    return total(values)
