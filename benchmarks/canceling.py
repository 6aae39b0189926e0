"""What canceling a workflow costs whose tasks all wait: time, queries, broadcasts to the workers.

    TEST_DATABASE_URL=postgres://... TEST_BROKER_URL=redis://... \
        python benchmarks/canceling.py [--rounds 5]

Beside it, in the same run: what a site does without a tree, a ``revoke()`` of each result. The
tasks stand in the broker, no worker needs to run. Prints medians and ratios; the queue is deleted
afterwards.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from celery import current_app  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext, get_runner  # noqa: E402

import tests.celeryapp  # noqa: E402, F401
from tests.tasks import plain  # noqa: E402
from user_workflows.canvas import group, workflow  # noqa: E402
from user_workflows.models import UserTaskStatus  # noqa: E402


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    """Cancels groups of 1,000 and of 10,000 tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    runner = get_runner(django.conf.settings)(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    broadcasts = []
    broadcast = current_app.control.broadcast

    def counted(*args: Any, **kwargs: Any) -> Any:
        broadcasts.append(args)
        return broadcast(*args, **kwargs)

    current_app.control.broadcast = counted
    try:
        user = get_user_model().objects.create_user("bench")
        for size in (1_000, 10_000):
            ours, theirs, queries, sent = [], [], 0, 0
            for _ in range(options.rounds):
                root = workflow(group(plain.si() for _ in range(size)), user=user).delay()
                status = UserTaskStatus.objects.get(pk=root.pk)
                broadcasts.clear()
                ours.append(seconds(status.cancel))
                sent = len(broadcasts)
                theirs.append(seconds(lambda: [r.revoke() for r in root.result.results]))  # noqa: B023
            root = workflow(group(plain.si() for _ in range(size)), user=user).delay()
            with CaptureQueriesContext(connection) as captured:
                UserTaskStatus.objects.get(pk=root.pk).cancel()
            queries = len(captured)
            mine, celery = statistics.median(ours), statistics.median(theirs)
            print(
                f"cancel {size:6,d} pending: {mine * 1000:7.1f} ms {queries:3d} queries "
                f"{sent:2d} broadcasts   revoke each: {celery * 1000:9.1f} ms   "
                f"{celery / mine:5.1f}x"
            )
    finally:
        with current_app.connection_for_write() as broker:
            broker.default_channel.queue_delete(current_app.conf.task_default_queue)
        runner.teardown_databases(databases)


if __name__ == "__main__":
    main()
