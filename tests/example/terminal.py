"""A terminal that a test holds."""

import os
import pty
import time


class Terminal:
    """What a process writes to it is read while somebody waits for words."""

    def __init__(self) -> None:
        self.ours, self.its = pty.openpty()
        self.text = ""

    def wait_for(self, words: str, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, self.text
            self.text += os.read(self.ours, 65536).decode(errors="replace")
