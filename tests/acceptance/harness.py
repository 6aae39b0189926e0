"""A Celery app for each kind of worker, and the worker as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from celery import Celery
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[2]
DIRECTORY = "ACCEPTANCE_DIRECTORY"
QUEUE = "ACCEPTANCE_QUEUE"
PROTOCOL = "ACCEPTANCE_PROTOCOL"
CONF = "ACCEPTANCE_CONF"
#: Seconds that anything may take before it counts as hanging.
PATIENCE = float(os.environ.get("ACCEPTANCE_PATIENCE", 60))

T = TypeVar("T")


def make_app(queue: str, protocol: int = 2, **conf: Any) -> Celery:
    """The app on either side; which broker and result backend is up to Django's settings."""
    app = Celery(f"acceptance-{queue}", set_as_current=False, include=["tests.acceptance.tasks"])
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(
        task_default_queue=queue,
        task_create_missing_queues=True,
        task_protocol=protocol,
        result_chord_retry_interval=0.5,
        result_expires=900,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=4,
        **conf,
    )
    return app


def until(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Polls until the condition holds, and returns what it gave."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.02)
    return value


def database_url() -> str:
    """The address of the database that this process tests with."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    scheme = {"postgresql": "postgres"}.get(connection.vendor, "mysql")
    user, password = quote(database["USER"]), quote(database["PASSWORD"], safe="")
    host = f"{user}:{password}@{database['HOST']}"
    return f"{scheme}://{host}:{database['PORT']}/{quote(database['NAME'])}"


@dataclass(frozen=True)
class Event:
    """One line of the record that workers keep of what really happened."""

    event: str
    tag: str
    task_id: str
    task: str
    at: float
    more: dict[str, Any]


def write(event: str, tag: str = "", task_id: str = "", task: str = "", **more: Any) -> None:
    """Adds a line to the record; short appends of several processes do not mix."""
    line = json.dumps([event, tag, task_id, task, time.time(), more])
    record = Path(os.environ[DIRECTORY]) / "record"
    descriptor = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@dataclass
class Worker:
    """A worker process, the app that sends to it, and what the tasks in it have recorded."""

    kind: str
    directory: Path
    pool: str = "prefork"
    protocol: int = 2
    environment: dict[str, str] = field(default_factory=dict)
    conf: dict[str, Any] = field(default_factory=dict)
    """Settings of Celery on both sides."""

    def __post_init__(self) -> None:
        self.queue = self.name = f"acceptance-{self.kind}-{os.getpid()}"
        self.app = make_app(self.queue, self.protocol, **self.conf)
        self.log = self.directory / "worker.log"
        (self.directory / "record").touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def other_queue(self) -> str:
        """A second queue that this worker takes tasks from."""
        return f"{self.queue}-other"

    def start(self) -> None:
        """Starts the process and waits until it takes tasks."""
        command = [sys.executable, "-m", "celery", "-A", "tests.acceptance.app", "worker"]
        command += ["--pool", self.pool, "--concurrency", "2", "--loglevel", "INFO"]
        command += ["--queues", f"{self.queue},{self.other_queue}", "--hostname", self.name]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "tests.settings"),
            "TEST_DATABASE_URL": database_url(),
            DIRECTORY: str(self.directory),
            QUEUE: self.queue,
            PROTOCOL: str(self.protocol),
            CONF: json.dumps(self.conf),
            **self.environment,
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._is_ready, f"the worker to start\n{self.tail()}")

    def _is_ready(self) -> bool:
        assert self._process and self._process.poll() is None, self.tail()
        return " ready." in self.log.read_text(errors="replace")

    def ask_to_stop(self) -> None:
        """Asks the process to end, and does not wait for it."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the worker and the children of its pool as a loss of power would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        """Waits until the process has ended, insists if need be, and removes its queues."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            # The session that was made for it: the worker and the children of its pool.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        if self._process.stdin:
            self._process.stdin.close()
        with self.app.connection_for_write() as broker:
            for queue in (self.queue, self.other_queue):
                broker.default_channel.queue_delete(queue)
        self.app.close()

    def revoke(self, task_id: str) -> None:
        """Revokes a task by hand, and waits until the worker has noted that."""
        answers = self.app.control.revoke(
            task_id, destination=[f"celery@{self.name}"], reply=True, timeout=PATIENCE, limit=1
        )
        assert answers, f"no answer from {self.name}"

    def tail(self, lines: int = 60) -> str:
        """The end of the worker's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{self.log}:\n" + "\n".join(text.splitlines()[-lines:])

    # -- what the tasks did ---------------------------------------------------------------------

    def events(self, event: str = "ran", tag: str | None = None) -> list[Event]:
        """What was recorded under this name, in order; of the tasks with this tag if given."""
        lines = (self.directory / "record").read_text().splitlines()
        found = (Event(*json.loads(line)) for line in lines)
        return [e for e in found if e.event == event and tag in (None, e.tag)]

    def ran(self, *task_ids: str) -> Counter[str]:
        """How often each body really ran, by task id; of these tasks if any are given."""
        ids = (event.task_id for event in self.events())
        return Counter(i for i in ids if not task_ids or i in task_ids)

    def wait_for(self, event: str, tag: str) -> Event:
        """Waits until a task with this tag has recorded this event."""
        return until(lambda: self.events(event, tag), f"{event} of {tag}")[0]

    def let_go(self, tag: str) -> None:
        """Lets go of the tasks that wait for this word."""
        (self.directory / f"{tag}.go").touch()


def is_redis() -> bool:
    """Whether the results are kept where Celery has native chords."""
    return str(settings.CELERY_RESULT_BACKEND).startswith("redis")
