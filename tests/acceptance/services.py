"""A Redis and a PostgreSQL of the tests' own, which they may stop, empty and start again."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens at now.

    Below those that the system gives to outgoing connections: while the server is down, a client
    that calls again and again could be given its port, and so be connected to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as server, suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, seconds: float = 30) -> None:
    """Returns as soon as somebody listens at this port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens at port {port}"
            time.sleep(0.05)
        else:
            return


class Server:
    """A server process that can be ended and started again at the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What starts the server."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        log = (self.directory / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdout=log, stderr=log
            )
        wait_for_port(self.port)

    def stop(self) -> None:
        """Ends the server at once."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None


class Redis(Server):
    """A Redis that keeps nothing: started again, it is empty."""

    @property
    def url(self) -> str:
        """Its address for Celery."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """What starts the server."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return ["redis-server", *options, "--appendonly", "no"]


class PostgreSQL(Server):
    """A PostgreSQL with a cluster in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = directory / "data"
        # It refuses to run as root.
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.getuid() != 0:
            self._user = []
        else:
            for part in (directory, *directory.parents[:3]):
                part.chmod(part.stat().st_mode | 0o055)
            shutil.chown(directory, "postgres", "postgres")
        initdb = [*self._user, self._program("initdb"), "--auth=trust", "--username=postgres"]
        subprocess.run(
            [*initdb, "--no-sync", "--pgdata", str(self._data)],
            check=True, stdout=subprocess.DEVNULL, cwd=directory,
        )  # fmt: skip

    @staticmethod
    def _program(name: str) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(found[-1]) if found else name

    def command(self) -> list[str]:
        """What starts the server."""
        options = ["-D", str(self._data), "-p", str(self.port), "-k", str(self.directory)]
        options += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        return [*self._user, self._program("postgres"), *options]

    def start(self) -> None:
        """Starts the server and waits until it takes connections: it listens before that."""
        super().start()
        ask = [self._program("pg_isready"), "--host", "127.0.0.1", "--port", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run([*ask, "--quiet"], check=False).returncode:
            assert time.monotonic() < deadline, "PostgreSQL does not take connections"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server, and with it all connections: SIGINT is its fast shutdown."""
        if self._process is not None:
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, 2)
            self._process.wait(20)
            self._process = None
