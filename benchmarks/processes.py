"""The processes of the sides: one that publishes and reads, and workers."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
#: Seconds that one call may take.
LIMIT = 1200


class Side:
    """A process in which one side is installed; its functions are in ``benchmarks.sides``."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, there), daemon=True)
        self._process.start()
        there.close()

    def call(self, function: str, *args: Any) -> Any:
        """Call a function of the side's module; return its result or raise its traceback."""
        self.begin(function, *args)
        return self.end()

    def begin(self, function: str, *args: Any) -> None:
        """Make the call without waiting for its result."""
        self._pipe.send((function, args))

    def end(self) -> Any:
        """Wait for the call that was begun; return its result."""
        if not self._pipe.poll(LIMIT):
            raise RuntimeError(f"{self.name}: no answer within {LIMIT} s")
        failed, value = self._pipe.recv()
        if failed:
            raise RuntimeError(f"{self.name}:\n{value}")
        return value

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(name: str, pipe: Any) -> None:
    os.environ["BENCH_SIDE"] = name
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    import django

    django.setup()
    importlib.import_module("benchmarks.app")
    side = importlib.import_module(f"benchmarks.sides.{name}")
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            os._exit(0)  # Celery's result objects complain where they are taken apart at the end.
        try:
            pipe.send((False, getattr(side, function)(*args)))
        except Exception:
            pipe.send((True, traceback.format_exc()))


class Worker:
    """A Celery worker of one side, with one process for tasks."""

    def __init__(self, side: str, *, keep: int | None = None, output: TextIO | None = None) -> None:
        environment = {**os.environ, "BENCH_SIDE": side, "PYTHONPATH": str(ROOT)}
        if keep is not None:
            environment["BENCH_KEEP"] = str(keep)
        command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet"]
        command += ["-A", "benchmarks.app", "worker", "--concurrency", "1", "--loglevel", "ERROR"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command += ["--hostname", f"{side}-{time.time_ns()}@bench"]
        self._process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output
        )
        self.pid = self._process.pid

    def close(self) -> None:
        """Shut the worker down warmly."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
