"""What submitting a workflow costs beside plain Celery: time, queries, nodes.

    TEST_DATABASE_URL=postgres://... TEST_BROKER_URL=redis://... \
        python benchmarks/submission.py [--course PATH] [--rounds 5]

Both sides publish the same canvases, in turns, in one run; no worker needs to run. Prints medians
and ratios. The queue is deleted afterwards.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

from celery import current_app  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext, get_runner, override_settings  # noqa: E402

import tests.celeryapp  # noqa: E402, F401
from courses.flows import export_course  # noqa: E402
from tests.tasks import plain  # noqa: E402
from user_workflows import capture, signatures  # noqa: E402
from user_workflows.canvas import Workflow, chord, workflow  # noqa: E402


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def compare(name: str, make: Callable[[], Workflow], rounds: int) -> None:
    """Submits what ``make`` makes, with and without tracking, in turns."""
    ours, theirs, queries, nodes = [], [], 0, 0
    for _ in range(rounds):
        flow = make()
        canvas = signatures.copy(flow._canvas)
        theirs.append(seconds(lambda: capture.untracked(canvas.apply_async)))  # noqa: B023
        with CaptureQueriesContext(connection) as captured:
            flow.delay()
        queries = len(captured)
        flow = make()
        ours.append(seconds(flow.delay))
        nodes = sum(1 for _ in flow.plan.walk())
    mine, celery = statistics.median(ours), statistics.median(theirs)
    print(
        f"{name:32s} {nodes:6d} nodes {queries:3d} queries  Celery {celery * 1000:8.1f} ms"
        f"  tracked {mine * 1000:8.1f} ms  ratio {mine / celery:.2f}"
    )


def main() -> None:
    """Runs all comparisons on a database of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--course", default=str(ROOT / "example_project" / "sample_course"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    runner = get_runner(django.conf.settings)(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        user = get_user_model().objects.create_user("bench")
        compare("one task", lambda: workflow(plain.si(), user=user), options.rounds * 5)
        for size in (10, 100, 1000, 10000):
            compare(
                f"chord of {size}",
                lambda: workflow(chord([plain.si()] * size, plain.s()), user=user),  # noqa: B023
                options.rounds,
            )
        course = Path(options.course)
        with TemporaryDirectory() as var, override_settings(EXAMPLE_VAR=var):
            compare("course export", lambda: export_course(course, user), options.rounds)
    finally:
        with current_app.connection_for_write() as broker:
            broker.default_channel.queue_delete(current_app.conf.task_default_queue)
        runner.teardown_databases(databases)


if __name__ == "__main__":
    main()
