"""The command watch_workflow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError

from tests.helpers import queries, stored
from tests.unit.management.test_commands import exported, run
from user_workflows.management.commands import watch_workflow
from user_workflows.models import UserTaskStatus
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db


class Terminal(StringIO):
    """A terminal of 100 x 30 that keeps what was written to it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what happens between the looks of ``watch_workflow``, one thing each time."""

    def set_up(*steps: Callable[[], Any]) -> None:
        left = iter(steps)

        def sleep(seconds: float) -> None:
            assert seconds > 0
            next(left)()

        monkeypatch.setattr(watch_workflow.time, "sleep", sleep)

    return set_up


def exit_status(*argv: Any) -> int:
    """The exit status of a command as it is called in a shell."""
    try:
        watch_workflow.Command().run_from_argv(["manage.py", "watch_workflow", *map(str, argv)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(autouse=True)
def connections_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is called from a shell closes them, with the test's transaction."""
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)


def test_watching_without_a_terminal_prints_a_line_for_each_change_then_the_tree(meanwhile: Any):
    nodes = exported()
    meanwhile(
        nodes["read"].succeed,
        nodes["one"].start,
        lambda: nodes["one"].set_state("Drawing"),
        nodes["one"].succeed,
        nodes["two"].succeed,
        lambda: nodes["pack"].add_artifact("Archive", url="https://example.com/a.zip"),
        nodes["pack"].succeed,
    )
    out = run("watch_workflow", nodes["root"].uuid)
    changes, _, rest = out.partition("✓ root")
    told = [line.split("  ", 1)[1] for line in changes.splitlines()]
    chord = nodes["pack"].parent.name
    assert told[:4] == [
        "root: In Progress  [1/4 steps]",
        "read: Succeeded  [1/4 steps]",
        f"{chord}: In Progress  [1/4 steps]",
        f"{chord} / lessons: In Progress  [1/4 steps]",
    ]
    assert f"{chord} / lessons / one: Drawing  [1/4 steps]" in told
    assert told[-1] == "root: Succeeded  [4/4 steps]"
    assert f"{chord} / pack: Archive\n    https://example.com/a.zip" in rest
    assert rest.splitlines()[-1].startswith("Succeeded: 4/4 steps")
    assert "\x1b" not in out


def test_watching_ends_with_the_failures_and_the_tasks_they_prevented(meanwhile: Any):
    nodes = exported()
    meanwhile(lambda: nodes["one"].fail("No\nink"), nodes["two"].succeed)
    nodes["read"].succeed()
    out = run("watch_workflow", nodes["root"].uuid)
    assert "one: Failed: No ink" in out
    assert "Skipped, not run because of one" in out
    assert "    No ink\n    1 task not run because of this\n" in out
    assert out.count("No ink") == 3


def test_a_terminal_is_redrawn_and_shows_the_whole_tree_at_the_end(meanwhile: Any):
    nodes = exported()
    meanwhile(
        nodes["read"].succeed, nodes["one"].succeed, nodes["two"].succeed, nodes["pack"].succeed
    )
    out = run("watch_workflow", nodes["root"].uuid, out=Terminal())
    assert "\x1b[" in out
    assert "Ctrl-C stops watching only" in out
    final = out.rpartition("Ctrl-C")[2]
    for name in nodes:
        assert name in final
    assert "\x1b[?25h" in out, "the cursor is shown again"


def test_a_terminal_shows_markup_and_control_characters_as_text():
    name = "[bold]x[/bold] :smile: \x1b[5mblink"
    nodes = stored(leaf(name))
    nodes[name].succeed()
    out = run("watch_workflow", nodes[name].uuid, out=Terminal())
    assert "[bold]x[/bold] :smile: \ufffd[5mblink" in out
    assert "\x1b[5m" not in out


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, meanwhile: Any):
    monkeypatch.setenv("TERM", "dumb")
    nodes = exported()
    meanwhile(nodes["read"].succeed, nodes["root"].cancel)
    out = run("watch_workflow", nodes["root"].uuid, out=Terminal())
    assert "read: Succeeded  [1/4 steps]" in out
    assert "\x1b" not in out


def test_names_that_the_terminal_cannot_encode_are_replaced():
    nodes = stored(leaf("漢字"))
    nodes["漢字"].succeed()

    class Latin(StringIO):
        encoding = "iso-8859-1"

    out = run("watch_workflow", nodes["漢字"].uuid, out=Latin())
    out.encode("iso-8859-1")
    assert out.startswith("+ ??  Succeeded")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda nodes: nodes["one"].succeed(), 0),
        (lambda nodes: nodes["one"].fail("x"), 1),
        (lambda nodes: nodes["root"].cancel(), 1),
    ],
)
def test_the_exit_status_follows_the_verdict(end: Any, status: int, capsys: Any):
    nodes = stored(container("group", leaf("one"), name="root"))
    end(nodes)
    assert exit_status(nodes["root"].uuid) == status


def test_success_with_failures_exits_with_status_zero(capsys: Any):
    nodes = stored(container("group", leaf("one", allow_failure=True), leaf("two"), name="root"))
    nodes["one"].fail("x")
    nodes["two"].succeed()
    assert exit_status(nodes["root"].uuid) == 0
    assert "Succeeded with failures" in capsys.readouterr().out


def test_ctrl_c_stops_watching_and_does_not_cancel(meanwhile: Any, capsys: Any):
    nodes = exported()

    def interrupt() -> None:
        raise KeyboardInterrupt

    meanwhile(interrupt)
    assert exit_status(nodes["root"].uuid) == 130
    out = capsys.readouterr().out
    assert "it goes on" in out and str(nodes["root"].uuid) in out
    meanwhile(interrupt)
    screen = Terminal()
    with pytest.raises(KeyboardInterrupt):
        run("watch_workflow", nodes["root"].uuid, out=screen)
    assert "lessons" in screen.getvalue().rpartition("\x1b[2K")[2], "the last picture stays"
    nodes["root"].refresh_from_db()
    assert nodes["root"].is_active


def test_a_workflow_that_is_deleted_while_being_watched_is_an_error(meanwhile: Any, capsys: Any):
    nodes = exported()
    meanwhile(nodes["root"].delete)
    assert exit_status(nodes["root"].uuid) == 1
    assert "deleted while being watched" in capsys.readouterr().err


def test_an_interval_outside_of_its_range_is_an_error():
    for interval in ("0", "-1", "nan", "x"):
        with pytest.raises(CommandError, match="interval"):
            run("watch_workflow", uuid4(), f"--interval={interval}")


def test_watching_without_rich_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(CommandError, match=r"pip install 'django-user-workflows\[terminal\]'"):
        run("watch_workflow", uuid4())


def test_a_picture_takes_one_query_and_one_more_after_a_failure(meanwhile: Any):
    nodes = exported()
    meanwhile(lambda: None, lambda: nodes["one"].fail("No ink"), lambda: None)
    looks = watch_workflow.pictures(nodes["root"], 0.5, False)
    for expected in (1, 1, None, 1):
        if expected is None:
            assert "No ink" in next(looks).texts.values()
            continue
        with queries(expected):
            next(looks)


def test_watching_a_branch_ends_with_it_and_names_causes_outside():
    nodes = exported()
    nodes["one"].fail("No ink")
    out = run("watch_workflow", nodes["pack"].uuid)
    assert "not run because of one" in out
    assert "lessons" not in out
    nodes["root"].refresh_from_db()
    assert nodes["root"].is_active


def test_watching_a_branch_survives_renumbering_of_its_tree(meanwhile: Any):
    nodes = exported()

    def renumber() -> None:
        rows = UserTaskStatus.objects.filter(tree_id=nodes["root"].pk)
        for row in rows:
            rows.filter(pk=row.pk).update(lft=row.lft + 7, rght=row.rght + 7)

    meanwhile(renumber, nodes["two"].succeed)
    out = run("watch_workflow", nodes["two"].uuid)
    assert "✓ two  Succeeded" in out
