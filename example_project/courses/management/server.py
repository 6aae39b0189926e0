"""The site, served by a thread of this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management.base import CommandError
from django.core.servers.basehttp import (
    ThreadedWSGIServer,
    WSGIRequestHandler,
    get_internal_wsgi_application,
)

HOST = "127.0.0.1"
PORTS = range(8000, 8100)
"""Ports to try; the first free one is used."""


@contextmanager
def serve_site(log: Path) -> Iterator[str]:
    """Serve the site, with requests logged to the file `log`, and yield its URL."""
    server = _bind_server()
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    handler = logging.FileHandler(log, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("django", "django.server")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]  # not on the terminal, which shows the tree
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers
        handler.close()


def _bind_server() -> ThreadedWSGIServer:
    """Return a server that listens on the first free port."""
    for port in PORTS:
        try:
            return ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
        except OSError:
            continue  # in use
    raise CommandError(f"None of the ports {PORTS.start} to {PORTS.stop - 1} is free")
