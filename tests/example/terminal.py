"""A pseudo-terminal for a process under test."""

import os
import pty
import time


class Terminal:
    """A terminal: the process writes to ``process_end``, and `wait_for` reads it into ``text``."""

    def __init__(self) -> None:
        self.test_end, self.process_end = pty.openpty()
        self.text = ""

    def wait_for(self, text: str, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, self.text
            self.text += os.read(self.test_end, 65536).decode(errors="replace")
