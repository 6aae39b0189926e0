"""`manage.py demo` as a user runs it: a process, its own worker, and no service."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from courses.management.server import PORTS
from courses.olx import read_course, unpack

from .samples import ROOT, SAMPLE, write
from .terminal import Terminal

SITE = ROOT / "example_project"


@pytest.fixture
def environment(tmp_path):
    """Environment variables of the site: no service, and a folder of its own."""
    names = ("DATABASE_URL", "BROKER_URL", "RESULT_BACKEND", "DJANGO_SETTINGS_MODULE")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    return environment | {"EXAMPLE_VAR": str(tmp_path / "var"), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def demo(environment):
    """Start the demo; stop it, and so its worker, unless the test has."""
    started = []

    def demo(*arguments, pace="0.01", stdout=subprocess.PIPE):
        process = subprocess.Popen(
            [sys.executable, "-u", "manage.py", "demo", *arguments],
            cwd=SITE,
            env={**environment, "EXAMPLE_PACE": pace},
            stdout=stdout,
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


def site_of(output):
    return re.search(r"The site: (http://127\.0\.0\.1:\d+)/", output)[1]


@contextmanager
def hold_first_port():
    """Listen on the first free port of those that the site tries, and yield it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in PORTS:
            with suppress(OSError):
                holder.bind(("127.0.0.1", port))
                holder.listen()
                break
        yield port


class Visitor:
    """A browser that keeps cookies."""

    def __init__(self, site):
        self.site, self.cookies = site, CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies))

    def get(self, address, **data):
        if data:
            (token,) = [cookie.value for cookie in self.cookies if cookie.name == "csrftoken"]
            data["csrfmiddlewaretoken"] = token
        body = urlencode(data).encode() if data else None
        with self.opener.open(self.site + address, body, timeout=30) as response:
            return response.url.removeprefix(self.site), response.read().decode()


def test_demo_exports_the_shipped_course(demo, tmp_path):
    process = demo()
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    archive, size = re.search(r"The archive: (.+) \(([\d,]+) bytes\)", output).groups()
    assert Path(archive).stat().st_size == int(size.replace(",", ""))
    unpack(Path(archive), tmp_path / "again")
    assert read_course(tmp_path / "again") == read_course(SAMPLE)
    assert "Constellations of the seasons" in output
    assert not is_running(worker_of(output))


def test_demo_of_broken_course_prints_place_of_fault_without_traceback(demo, tmp_path):
    process = demo("--course", str(write(tmp_path / "course", html__h1=None)))
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1, output
    place = "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml)"
    assert f"{place}: html/h1.xml is missing" in output
    assert "Traceback" not in output
    assert not is_running(worker_of(output))


def test_demo_stops_its_worker_when_terminated(demo):
    process = demo(pace="0.2")
    worker = worker_of(process.stdout.readline())
    assert is_running(worker)
    time.sleep(3)  # until it runs tasks
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not is_running(worker)


def test_demo_serves_the_site_while_the_export_runs(demo):
    with hold_first_port() as taken:
        process = demo(pace="0.2")
        output = "".join(process.stdout.readline() for _ in range(3))
        site = site_of(output)
        assert not site.endswith(f":{taken}")
        export = re.search(rf"The page of this export: {site}(/\S+)", output)[1]
        visitor = Visitor(site)
        name, password = re.search(r"\(user (\w+), password (\w+)\)", output).groups()
        assert visitor.get(export)[0].startswith("/log-in/")
        page, text = visitor.get(f"/log-in/?next={export}", username=name, password=password)
        assert page == export
        assert "Export Watching the Night Sky" in text
        assert ".academy-bar" in visitor.get("/static/academy.css")[1]
        with visitor.opener.open(site) as response:
            policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "unsafe" not in policy
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output
    assert '"GET' not in output  # requests are logged to a file


@pytest.mark.parametrize("is_broken", [False, True])
def test_demo_on_a_terminal_serves_the_site_until_interrupted(demo, tmp_path, is_broken):
    broken = ["--course", str(write(tmp_path / "course", html__h1=None))] if is_broken else []
    terminal = Terminal()
    process = demo(*broken, stdout=terminal.process_end)
    terminal.wait_for("until Ctrl-C.\r\n")
    visitor = Visitor(site_of(terminal.text))
    assert visitor.get("/")[0] == "/log-in/?next=/"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    terminal.wait_for("Stopping the site and its worker.")
    assert process.wait(60) == (1 if is_broken else 0)
    assert not is_running(worker_of(terminal.text))


def test_demo_fails_with_a_message_when_its_worker_is_killed(demo, tmp_path):
    process = demo(pace="0.2")
    os.kill(worker_of(process.stdout.readline()), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "The worker ended unexpectedly; see " in output
    assert "Traceback" not in output


CLICKS_WITHOUT_BROKER = """
import django
django.setup()
from django.core.management import call_command
from django.test import Client
from courses.accounts import demo_user

call_command("migrate", verbosity=0)
client = Client(headers={"host": "localhost"})
client.force_login(demo_user())
response = client.post("/start/transcode/", {"video": "A tour of the Moon"}, follow=True)
print(response.redirect_chain, response.content.decode())
"""


def test_start_without_a_broker_shows_an_error_to_the_user(environment):
    environment |= {
        "BROKER_URL": "amqp://127.0.0.1:1//",
        "DJANGO_SETTINGS_MODULE": "example.settings",
    }
    command = [sys.executable, "-c", CLICKS_WITHOUT_BROKER]
    run = subprocess.run(
        command, cwd=SITE, env=environment, timeout=90, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("[('/', 302)]")
    assert "It could not be sent to the workers. Please try again later." in run.stdout
    assert "Failed" in run.stdout  # among the recent work
