"""A Celery worker, run as a process of its own."""

from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

STOP_TIMEOUT = 20
"""Seconds that a worker has to finish its tasks before it is killed."""


@contextmanager
def run_worker(log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that logs to the file `log`, yield its process, and stop it at the end.

    Args:
        log: The file to write the worker's output to.
        environment: Variables for the worker, beside those of this process.

    Raises:
        CommandError: The worker ended by itself; the body is interrupted then.
    """
    command = [sys.executable, "-m", "celery", "-A", "example", "worker", "--pool=prefork"]
    command += ["--concurrency=4", "--loglevel=INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    stopping = threading.Event()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops the worker
        )

    def interrupt_when_worker_ends() -> None:
        process.wait()
        if not stopping.is_set():
            _thread.interrupt_main()

    threading.Thread(target=interrupt_when_worker_ends, daemon=True).start()
    try:
        yield process
    except KeyboardInterrupt:
        if process.poll() is not None:
            raise CommandError(f"The worker ended unexpectedly; see {log}") from None
        raise
    finally:
        stopping.set()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
