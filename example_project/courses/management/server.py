"""The site itself, served by this process for as long as one needs it."""

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
"""The first one that is free is taken."""


@contextmanager
def own_server(log: Path) -> Iterator[str]:
    """Serve the site in a thread that writes to `log`; the value is its address."""
    server = _bound()
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    handler = logging.FileHandler(log, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("django", "django.server")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]  # the terminal is for the tree
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


def _bound() -> ThreadedWSGIServer:
    for port in PORTS:
        try:
            return ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
        except OSError:
            continue  # somebody else's
    raise CommandError(f"None of the ports {PORTS.start} to {PORTS.stop - 1} is free")
