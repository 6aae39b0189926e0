"""What is told of changes and endings, and the pieces of text that all of it is made of."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tests.unit.terminal.test_picture import HEBREW, NOON, course, drawn, made
from user_workflows.phases import Phase
from user_workflows.reports.formatting import format_size
from user_workflows.terminal import Picture, plain, report
from user_workflows.terminal.text import clean, clip, counts_label, short_duration, wrap


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\nb\r\nc\td", "a b c d"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("x\u202ey\u2066z", "xyz"),
        ("\ud800", "\ufffd"),
        ("", ""),
        ("  spread   out ", "spread out"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_cleaned_text_has_nothing_that_a_terminal_obeys(text: str, safe: str):
    assert clean(text) == safe


def test_right_to_left_names_are_isolated_and_stay_so_when_clipped():
    assert f"\u2068{HEBREW}\u2069" in drawn(made("root", Phase.RUNNING, made(HEBREW), kind="group"))
    assert clip(f"\u2068{HEBREW * 9}\u2069", 10).count("\u2069") == 1


def test_wrapped_text_breaks_words_only_where_they_do_not_fit():
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert wrap("漢字漢字", 5) == ["漢字", "漢字"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""), (-3, "0.0s"), (0.44, "0.4s"), (9.97, "10s"), (59.6, "1m00s"), (185, "3m05s"),
        (7640, "2h07m"), (86400 * 4 + 7200, "4d02h"),
    ],
)  # fmt: skip
def test_a_short_duration_has_at_most_two_units(seconds: float | None, words: str):
    assert short_duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (18_400_000, "18 MB"),
        (10**16, "10000 TB"),
    ],
)
def test_a_size_has_one_unit(number: int | None, words: str):
    assert format_size(number) == words


def test_counts_start_with_what_went_wrong():
    counts = {Phase.PENDING: 12, Phase.SUCCEEDED: 480, Phase.FAILED: 1, Phase.RUNNING: 2}
    assert counts_label(counts) == "1 failed, 2 running, 480 succeeded, 12 pending"


# -- changes and endings --------------------------------------------------------------------------


def test_changes_list_begun_nodes_before_their_children_and_ended_ones_after():
    before = made("root", Phase.PENDING, made("a"), made("b"), kind="chain")
    a, b = before.children
    after = made("root", Phase.RUNNING, made("a", Phase.SUCCEEDED), made("b"), kind="chain")
    after.pk, after.children[0].pk, after.children[1].pk = before.pk, a.pk, b.pk
    first, second = Picture(before), Picture(after)
    assert report.changes(None, first) == []
    assert report.changes(first, second) == [
        "root: In Progress  [1/2 steps]",
        "a: Succeeded  [1/2 steps]",
    ]
    assert report.changes(second, second) == []
    after.children[1].phase, after.children[1].settled_at = Phase.SUCCEEDED, NOON
    after.phase, after.settled_at = Phase.SUCCEEDED, NOON
    lines = report.changes(first, Picture(after))
    assert [line.split(":")[0] for line in lines] == ["a", "b", "root"]


def test_changes_of_failed_and_skipped_nodes_give_the_reason():
    tree, texts = course()
    lines = report.changes(None, Picture(tree, texts=texts))
    assert (
        "Export / Chapters / Module 2 / Lesson 2: Failed: The picture moon.png is missing"
        "  [5/16 steps]" in lines
    )
    assert "Export / Assemble: Skipped, not run because of Lesson 2  [5/16 steps]" in lines
    assert not any("\n" in line for line in lines)


def test_failures_are_listed_with_the_number_of_tasks_that_they_prevented():
    allowed = made("Optional", Phase.FAILED, allow_failure=True)
    small = made("Small", Phase.FAILED)
    large = made("Large", Phase.FAILED, attempts=2)
    skipped = [made(f"s{n}", Phase.SKIPPED, caused_by_id=large.pk) for n in range(14)]
    container = made("Rest", Phase.SKIPPED, *skipped, kind="group", caused_by_id=large.pk)
    one = made("one", Phase.SKIPPED, caused_by_id=small.pk)
    tree = made("root", Phase.FAILED, allowed, small, large, container, one, kind="group")
    texts = {small.pk: "too small", large.pk: "too large"}
    assert (
        plain(report.failures(Picture(tree, texts=texts)))
        == """\
✗ Large  Failed, attempt 2
    too large
    14 tasks not run because of this
✗ Small  Failed
    too small
    1 task not run because of this
✗ Optional  Failed (allowed)"""
    )


def test_artifacts_are_listed_with_path_name_size_and_address():
    leaf = made("Pack", Phase.SUCCEEDED)
    group = made("Chapters", Phase.SUCCEEDED, leaf, kind="group")
    tree = made("root", Phase.SUCCEEDED, group, kind="chain")
    url = "https://example.com/" + "x" * 100
    found = [
        report.Artifact(leaf.pk, "Archive", url, True, 4200),
        report.Artifact(leaf.pk, "Notes\x1b[2J", "all\nis well " * 20, False, None),
    ]
    lines = plain(report.artifacts(Picture(tree), found, 40)).splitlines()
    assert lines[0] == "Chapters / Pack: Archive  4.2 kB"
    assert lines[1] == f"    {url}"
    assert lines[2] == "Chapters / Pack: Notes\ufffd[2J"
    assert lines[3].startswith("    all is well all") and cell_len(lines[3]) <= 40


def test_the_verdict_is_one_line():
    parts = [made("a", Phase.SUCCEEDED), made("b", Phase.FAILED)]
    tree = made("root", Phase.FAILED, *parts, kind="group", took=72)
    line = plain([report.verdict(Picture(tree))])
    assert line == "Failed: 1/2 steps in 1m12s; tasks: 1 failed, 1 succeeded"
