"""A Celery worker of one's own, for as long as one needs it."""

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

GRACE = 20
"""Seconds a worker has to finish what it is doing."""


@contextmanager
def own_worker(log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker that writes to `log`; end it, and only it, afterwards.

    If it ends by itself, what is done meanwhile is interrupted with a `CommandError`.
    """
    command = [sys.executable, "-m", "celery", "-A", "example", "worker", "--pool=prefork"]
    command += ["--concurrency=4", "--loglevel=INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    leaving = threading.Event()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we tell the worker
        )

    def guard() -> None:
        process.wait()
        if not leaving.is_set():
            _thread.interrupt_main()

    threading.Thread(target=guard, daemon=True).start()
    try:
        yield process
    except KeyboardInterrupt:
        if process.poll() is not None:
            raise CommandError(f"The worker ended unexpectedly; see {log}") from None
        raise
    finally:
        leaving.set()
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
