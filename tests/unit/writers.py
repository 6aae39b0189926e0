"""Writers of progress for tests, to be used with ``progress.use_writer``."""

from __future__ import annotations

from collections.abc import Callable

from user_workflows.lifecycle.progress import ProgressWriter


class PausedWriter(ProgressWriter):
    """Writes nothing by itself, and counts how often it was woken."""

    def __init__(self, on_wake: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.on_wake = on_wake
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1
        self.on_wake()
