"""A progress bar for commands that write much, where rich is installed and somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


@contextmanager
def progress_bar(out: Any, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what is to be called with how much more of ``total`` is done.

    Arguments:
        out: the command's ``stdout``: where that is no terminal nothing is shown.
        text: what is being done.
        total: how much there is to do.
    """
    if not (find_spec("rich") and total and out.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.advance(task, done)
