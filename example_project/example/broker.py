"""An embedded message broker: kombu's filesystem transport, made safe for several processes.

Kombu 5.7 `filesystem.Channel._put` writes a message where consumers already look for it; one that
is read half-written is lost. Here a rename publishes the complete message and a second rename
claims it, and messages are delivered in the order they were sent.

    BROKER_URL = "files://"  # with the transport options of kombu's "filesystem://"
"""

import time
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """A channel whose messages are files named `<time>_<id>.<queue>.msg`, as in kombu's."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        name = f"{time.time_ns():020}_{uuid4()}.{queue}.msg"
        hidden = Path(self.data_folder_out, f".{name}.new")
        hidden.write_text(dumps(payload))
        hidden.rename(hidden.with_name(name))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = Path(self.data_folder_in)
        names = (path.name for path in folder.iterdir())
        for name in sorted(name for name in names if name.partition(".")[2] == f"{queue}.msg"):
            claimed = folder / f".{name}.taken"
            try:
                (folder / name).rename(claimed)
            except FileNotFoundError:
                continue  # another consumer was faster
            message = loads(claimed.read_text())
            claimed.unlink()
            return message
        raise Empty


class Transport(filesystem.Transport):
    """The transport of this channel."""

    Channel = Channel


TRANSPORT_ALIASES["files"] = f"{__name__}:Transport"
