"""``manage.py watch_workflow UUID``: follows a workflow, or a branch of one, in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, cast
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
    from django.db.models.fields.files import FieldFile
    from rich.console import Console
    from rich.text import Text

    from ...terminal import Line, Picture
    from ...terminal.report import Artifact

#: The most terminal cells of a line: in a wider one the eye does not find its end.
WIDTH = 120
#: The most characters of a message that are shown.
MESSAGE = 2000


def seconds(text: str) -> float:
    """Return a reasonable number of seconds."""
    number = float(text)
    if not 0.05 <= number <= 3600:
        raise argparse.ArgumentTypeError("between 0.05 and 3600 seconds, please")
    return number


class Command(BaseCommand):
    """Exits with status 0 if the workflow succeeded, with failures or without, and 1 otherwise.

    On a terminal the tree is redrawn as it changes; elsewhere each change is a line.
    """

    help = "Follow a workflow, or a branch of one, until it has ended."
    succeeded = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("uuid", type=UUID, help="Of a workflow, or of any node in one")
        parser.add_argument(
            "--interval", type=seconds, default=0.5, help="Seconds between two looks (0.5)"
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Exit with a status by the verdict, and without a traceback if the reader goes away."""
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if not self.succeeded:
            sys.exit(1)

    def handle(self, *args: object, uuid: UUID, interval: float = 0.5, **options: object) -> None:
        if not find_spec("rich"):
            needed = "pip install 'django-user-workflows[terminal]'"
            raise CommandError(f"watch_workflow needs rich: {needed}")
        status = UserTaskStatus.objects.filter(uuid=uuid).first()
        if status is None:
            raise CommandError(f"There is no workflow, nor a node of one, with the UUID {uuid}.")
        screen = Screen(self.stdout, no_color=bool(options.get("no_color")))
        try:
            picture = screen.follow(pictures(status, interval, screen.ascii))
        except KeyboardInterrupt:
            stopped = "Stopped watching. The workflow was not canceled; it goes on. Watch again:"
            screen.print_lines([stopped, f"  manage.py watch_workflow {uuid}"])
            raise
        screen.conclude(picture, artifacts_below(status))
        self.succeeded = picture.tree.phase in (Phase.SUCCEEDED, Phase.PARTIAL)


def pictures(status: UserTaskStatus, interval: float, ascii_only: bool) -> Iterator[Picture]:
    """Yield a picture of the tree at each interval until it is settled.

    The whole tree is read also for a branch: its bounds may change, and what it waits for may be
    outside.

    Queries: one for each picture, and one more when something has failed.
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
    """Return the error messages of a tree by node, without the copies on containers."""
    errors = artifacts().filter(status__tree_id=tree_id, name=ERROR_ARTIFACT).order_by("pk")
    errors = errors.exclude(status__is_container=True, status__caused_by__isnull=False)
    return dict(errors.values_list("status_id", Left("text", MESSAGE)))


def artifacts_below(status: UserTaskStatus) -> Iterator[Artifact]:
    """Yield the artifacts of a node and all below it, except error messages."""
    from ...terminal.report import Artifact

    status.refresh_from_db()
    for artifact in status.subtree_artifacts().exclude(name=ERROR_ARTIFACT).iterator():
        where = _address(artifact.file) if artifact.file else artifact.url or artifact.text
        linked = bool(artifact.file or artifact.url)
        yield Artifact(artifact.status_id, artifact.name, where[:MESSAGE], linked, artifact.size)


def _address(file: FieldFile) -> str:
    """Return the URL of a file if it is absolute, else its path or name in the storage."""
    for attribute in ("url", "path"):
        try:
            where = str(getattr(file, attribute))
        except (NotImplementedError, ValueError):
            continue
        if attribute == "path" or "://" in where:
            return where
    return str(file.name)


class Screen:
    """The output of pictures: a terminal that can draw, or a stream of lines."""

    def __init__(self, stdout: OutputWrapper | IO[str], *, no_color: bool = False) -> None:
        while isinstance(stdout, OutputWrapper):
            stdout = cast("IO[str]", stdout._out)
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
        """Cells of a line. One stays free: terminals disagree on the width of some characters."""
        return min(self.console.width - 1, WIDTH) if self.console else 100

    def print_lines(self, texts: Iterable[str]) -> None:
        """Print lines of plain text."""
        self.write([(text, "")] for text in texts)

    def write(self, lines: Iterable[Line]) -> None:
        """Print lines, with their styles if this is a terminal."""
        for line in lines:
            if self.console:
                self.console.print(self._rich([line]), soft_wrap=True)
            else:
                text = "".join(text for text, _ in line).rstrip()
                self.stream.write(self._encodable(text) + "\n")
        if hasattr(self.stream, "flush"):
            self.stream.flush()

    def follow(self, pictures: Iterable[Picture]) -> Picture:
        """Show each picture as it comes, and return the last one."""
        return self._draw(pictures, self.console) if self.console else self._list(pictures)

    def _list(self, pictures: Iterable[Picture]) -> Picture:
        from ...terminal.report import changes

        last: Picture | None = None
        for picture in pictures:
            if last or not picture.tree.is_settled:
                at = now()
                clock = f"{localtime(at) if at.tzinfo else at:%H:%M:%S}"
                self.print_lines(f"{clock}  {text}" for text in changes(last, picture))
            last = picture
        assert last is not None  # noqa: S101
        return last

    def _draw(self, pictures: Iterable[Picture], console: Console) -> Picture:
        from rich.live import Live

        from ...terminal.text import clip, counts_label

        last: Picture | None = None
        size = console.size
        with Live(console=console, auto_refresh=False, transient=True) as live:
            try:
                for last in pictures:
                    if size != console.size:
                        size = console.size
                        console.clear()  # The terminal has wrapped the last picture.
                    footer = f"{counts_label(last.tree.counts)}. Ctrl-C stops watching only."
                    lines = last.lines(self.width, console.height - 2)
                    lines = [*lines, [(clip(footer, self.width), "bright_black")]]
                    live.update(self._rich(lines), refresh=True)
            except KeyboardInterrupt:
                if last is not None:
                    live.stop()
                    self.write(last.lines(self.width, console.height - 4))
                raise
        assert last is not None  # noqa: S101
        return last

    def conclude(self, picture: Picture, artifacts: Iterable[Artifact]) -> None:
        """Print the whole tree, the failures, the artifacts and the verdict."""
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

    def _rich(self, lines: Iterable[Line]) -> Text:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            for part, style in line:
                text.append(self._encodable(part), style)
        return text

    def _encodable(self, text: str) -> str:
        return text.encode(self.encoding, "replace").decode(self.encoding)
