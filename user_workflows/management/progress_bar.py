"""A progress bar for commands that write much, if rich is installed and stdout is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from django.core.management.base import OutputWrapper


@contextmanager
def progress_bar(out: OutputWrapper, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar if ``out`` is a terminal, and yield a function that advances it by some steps."""
    if not (find_spec("rich") and total and out.isatty()):
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda steps: progress.advance(task, steps)
