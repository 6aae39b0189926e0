"""``manage.py watch_workflow UUID``: follows a workflow, or a branch of one, in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db.models.functions import Left
from django.utils.timezone import localtime, now

from ...db.tables import artifacts
from ...fields import ERROR_ARTIFACT
from ...models import UserTaskStatus
from ...phases import Phase
from ...tree.nodes import read_tree

if TYPE_CHECKING:
    from rich.console import Console

    from ...terminal import Line, Picture

WIDTH = 120
"""Cells of a line at most: in a wider one the eye does not find the end of it."""
MESSAGE = 2000
"""Letters of a message that are shown at most."""


def seconds(text: str) -> float:
    """A positive number."""
    number = float(text)
    if not 0.05 <= number <= 3600:
        raise argparse.ArgumentTypeError("between 0.05 and 3600 seconds, please")
    return number


class Command(BaseCommand):
    """Exits with status 0 if the workflow succeeded, with failures or without, and 1 otherwise.

    On a terminal the tree is drawn anew as it changes; elsewhere each change is a line.
    """

    help = "Follow a workflow, or a branch of one, until it has ended."
    succeeded = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which node, and how often to look."""
        parser.add_argument("uuid", type=UUID, help="Of a workflow, or of any node in one")
        parser.add_argument(
            "--interval", type=seconds, default=0.5, help="Seconds between two looks (0.5)"
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """The verdict becomes the exit status; who stops reading gets no traceback."""
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if not self.succeeded:
            sys.exit(1)

    def handle(self, *args: Any, uuid: UUID, interval: float = 0.5, **options: Any) -> None:
        """Watches until the node is settled.

        Raises:
            CommandError: there is no such node (any more), or rich is not installed.
            KeyboardInterrupt: after saying that the workflow goes on.
        """
        try:
            import rich.console  # noqa: F401
        except ImportError as error:
            raise CommandError(
                "watch_workflow needs rich: pip install 'django-user-workflows[terminal]'"
            ) from error
        status = UserTaskStatus.objects.filter(uuid=uuid).first()
        if status is None:
            raise CommandError(f"There is no workflow, nor a node of one, with the UUID {uuid}.")
        screen = Screen(self.stdout, no_color=bool(options.get("no_color")))
        try:
            picture = screen.follow(pictures(status, interval, screen.ascii))
        except KeyboardInterrupt:
            screen.say(
                [
                    "Stopped watching. The workflow was not canceled; it goes on. Watch again:",
                    f"  manage.py watch_workflow {uuid}",
                ]
            )
            raise
        screen.conclude(picture, left_artifacts(status))
        self.succeeded = picture.tree.phase in (Phase.SUCCEEDED, Phase.PARTIAL)


def pictures(status: UserTaskStatus, interval: float, ascii_only: bool) -> Iterator[Picture]:
    """How the tree looks, again and again until it is settled.

    One query each time, and one more when something has failed. Of a branch too the whole tree
    is read: its bounds may change, and what it waits for may stand outside.

    Raises:
        CommandError: it was deleted.
    """
    from ...terminal import ASCII, UNICODE, Picture

    texts: dict[int, str] = {}
    failed: set[int] = set()
    while True:
        began = time.monotonic()
        whole = read_tree(status.tree_id)
        nodes = {node.pk: node for node in whole.walk()} if whole else {}
        tree = nodes.get(status.pk)
        if tree is None:
            raise CommandError("It was deleted while being watched.")
        now_failed = {pk for pk, node in nodes.items() if node.phase is Phase.FAILED}
        if now_failed - failed:
            texts, failed = messages(status.tree_id), now_failed
        names = {} if tree is whole else {pk: node.name for pk, node in nodes.items()}
        yield Picture(tree, texts, names, glyphs=ASCII if ascii_only else UNICODE)
        if tree.is_settled:
            return
        # A tree so large that reading it takes long is read less often.
        time.sleep(max(interval, time.monotonic() - began))


def messages(tree_id: int) -> dict[int, str]:
    """Why the nodes of a tree failed; not the copies that containers have."""
    errors = artifacts().filter(status__tree_id=tree_id, name=ERROR_ARTIFACT).order_by("pk")
    errors = errors.exclude(status__is_container=True, status__caused_by__isnull=False)
    return dict(errors.values_list("status_id", Left("text", MESSAGE)))


def left_artifacts(status: UserTaskStatus) -> Iterator[Any]:
    """What the tasks below a node have left for the user, failures' messages excepted."""
    from ...terminal.report import Artifact

    status.refresh_from_db()
    for artifact in status.subtree_artifacts().exclude(name=ERROR_ARTIFACT).iterator():
        where = _address(artifact.file) if artifact.file else artifact.url or artifact.text
        is_address = bool(artifact.file or artifact.url)
        yield Artifact(
            artifact.status_id, artifact.name, where[:MESSAGE], is_address, artifact.size
        )


def _address(file: Any) -> str:
    """Where a file is: its URL if that says so by itself, else its path or name in the storage."""
    for attribute in ("url", "path"):
        try:
            where = str(getattr(file, attribute))
        except (NotImplementedError, ValueError):
            continue
        if attribute == "path" or "://" in where:
            return where
    return str(file.name)


class Screen:
    """Where the pictures go: a terminal that can draw, or a stream of lines."""

    def __init__(self, stdout: Any, *, no_color: bool = False) -> None:
        while isinstance(stdout, OutputWrapper):
            stdout = stdout._out
        self.stream = stdout
        self.encoding = getattr(stdout, "encoding", None) or "utf-8"
        self.ascii = not self.encoding.lower().replace("-", "").startswith("utf")
        self.console: Console | None = None
        is_terminal = hasattr(stdout, "isatty") and stdout.isatty()
        if is_terminal and os.environ.get("TERM") not in ("dumb", "unknown"):
            from rich.console import Console

            self.console = Console(file=stdout, force_terminal=True, no_color=no_color or None)

    @property
    def width(self) -> int:
        """Cells of a line. One stays free: terminals do not agree on the width of all letters."""
        return min(self.console.width - 1, WIDTH) if self.console else 100

    def say(self, texts: Iterable[str]) -> None:
        """Lines of plain words."""
        self.write([(text, "")] for text in texts)

    def write(self, lines: Iterable[Line]) -> None:
        """Lines, with their styles if this is a terminal."""
        for line in lines:
            if self.console:
                self.console.print(self._rich([line]), soft_wrap=True)
            else:
                text = "".join(text for text, _ in line).rstrip()
                self.stream.write(self._encodable(text) + "\n")
        if hasattr(self.stream, "flush"):
            self.stream.flush()

    def follow(self, pictures: Iterable[Picture]) -> Picture:
        """Shows each picture as it comes, and returns the last one."""
        return self._draw(pictures) if self.console else self._list(pictures)

    def _list(self, pictures: Iterable[Picture]) -> Picture:
        from ...terminal.report import changes

        last: Picture | None = None
        for picture in pictures:
            if last or not picture.tree.is_settled:
                self.say(f"{clock()}  {text}" for text in changes(last, picture))
            last = picture
        assert last is not None  # noqa: S101
        return last

    def _draw(self, pictures: Iterable[Picture]) -> Picture:
        from rich.live import Live

        assert self.console is not None  # noqa: S101
        last: Picture | None = None
        with ExitStack() as stack:
            live = Live(console=self.console, auto_refresh=False, transient=True)
            stack.enter_context(live)
            size = self.console.size
            try:
                for last in pictures:
                    if size != self.console.size:
                        size = self.console.size
                        self.console.clear()  # the terminal has wrapped what was drawn
                    live.update(self._rich(self._frame(last)), refresh=True)
            except KeyboardInterrupt:
                if last is not None:
                    stack.close()
                    self.write(last.lines(self.width, self.console.height - 4))
                raise
        assert last is not None  # noqa: S101
        return last

    def _frame(self, picture: Picture) -> list[Line]:
        from ...terminal.text import clip, counts_label

        assert self.console is not None  # noqa: S101
        lines = picture.lines(self.width, self.console.height - 2)
        words = f"{counts_label(picture.tree.counts)}. Ctrl-C stops watching only."
        return [*lines, [(clip(words, self.width), "bright_black")]]

    def conclude(self, picture: Picture, artifacts: Iterable[Any]) -> None:
        """The whole tree, what failed, what there is to fetch, and the verdict."""
        from ...terminal import report

        self.write(picture.lines(self.width if self.console else None))
        sections = (
            ("Failures", report.failures(picture, self.width)),
            ("Artifacts", report.artifacts(picture, artifacts, self.width)),
        )
        for title, lines in sections:
            if lines:
                self.write([[], [(title, "bold underline")], *lines])
        self.write([[], report.verdict(picture)])

    def _rich(self, lines: Iterable[Line]) -> Any:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            for words, style in line:
                text.append(self._encodable(words), style)
        return text

    def _encodable(self, text: str) -> str:
        return text.encode(self.encoding, "replace").decode(self.encoding)


def clock() -> str:
    """The time of the day, where the site is."""
    at = now()
    return f"{localtime(at) if at.tzinfo else at:%H:%M:%S}"
