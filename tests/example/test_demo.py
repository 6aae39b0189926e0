"""`manage.py demo` as a user runs it: a process, its own worker, and no service."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from courses.olx import read_course, unpack

from .samples import ROOT, SAMPLE, write

SITE = ROOT / "example_project"


@pytest.fixture
def demo(tmp_path):
    """Starts the demo; ends it, and with it its worker, if a test did not."""
    names = ("DATABASE_URL", "BROKER_URL", "RESULT_BACKEND", "DJANGO_SETTINGS_MODULE")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"EXAMPLE_VAR": str(tmp_path / "var"), "PYTHONPATH": str(ROOT)}
    started = []

    def demo(*arguments, pace="0.01"):
        process = subprocess.Popen(
            [sys.executable, "-u", "manage.py", "demo", *arguments],
            cwd=SITE,
            env={**environment, "EXAMPLE_PACE": pace},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield demo
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def worker_of(output):
    return int(re.search(r"Worker (\d+) is starting", output)[1])


def test_the_shipped_course_is_exported(demo, tmp_path):
    process = demo()
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    archive, size = re.search(r"The archive: (.+) \(([\d,]+) bytes\)", output).groups()
    assert Path(archive).stat().st_size == int(size.replace(",", ""))
    unpack(Path(archive), tmp_path / "again")
    assert read_course(tmp_path / "again") == read_course(SAMPLE)
    assert "Constellations of the seasons" in output
    assert not is_running(worker_of(output))


def test_a_broken_course_is_told_in_an_authors_words(demo, tmp_path):
    process = demo("--course", str(write(tmp_path / "course", html__h1=None)))
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1, output
    place = "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml)"
    assert f"{place}: html/h1.xml is missing" in output
    assert "Traceback" not in output
    assert not is_running(worker_of(output))


def test_the_worker_does_not_outlive_a_demo_that_is_stopped(demo):
    process = demo(pace="0.2")
    worker = worker_of(process.stdout.readline())
    assert is_running(worker)
    time.sleep(3)  # it is at work by now
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not is_running(worker)
