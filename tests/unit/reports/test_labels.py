"""The labels that pages, pictures, terminals, the admin and the commands share."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import override

from user_workflows.phases import NodeType, Phase
from user_workflows.reports import labels
from user_workflows.reports.artifact_links import safe_link
from user_workflows.reports.formatting import rough_duration
from user_workflows.terminal import text


@pytest.mark.parametrize(
    ("phase", "stored", "more", "label"),
    [
        (Phase.RUNNING, "In Progress", {}, "In Progress"),
        (Phase.RUNNING, "Sending mail", {}, "Sending mail"),
        (Phase.RUNNING, "  ", {}, "In Progress"),
        (Phase.FAILED, "Failed", {"is_settled": True, "running": 4, "several": True}, "Failed"),
        (Phase.FAILED, "Failed", {"running": 4, "several": True}, "Failing (4 still running)"),
        (Phase.FAILED, "Failed", {"waiting": 2, "several": True}, "Failing (2 still pending)"),
        (Phase.FAILED, "Failed", {}, "Failing"),
        (Phase.CANCELED, "Canceled", {"running": 1}, "Canceling (still running)"),
        (Phase.FAILED, "Failed", {"is_settled": True, "is_allowed": True}, "Failed (allowed)"),
        (Phase.SUCCEEDED, "Succeeded", {"is_allowed": True}, "Succeeded"),
    ],
)
def test_a_state_label_says_the_verdict_and_what_is_still_open(
    phase: Phase, stored: str, more: dict[str, Any], label: str
) -> None:
    assert labels.state_label(phase, stored, **{"is_settled": False, **more}) == label


def test_counts_are_listed_with_what_went_wrong_first() -> None:
    counts = dict.fromkeys(Phase, 1_000)
    assert set(labels.PHASE_ORDER) == set(Phase)
    assert labels.counts_label(counts) == (
        "1,000 failed, 1,000 running, 1,000 retrying, 1,000 succeeded, "
        "1,000 succeeded with failures, 1,000 canceled, 1,000 skipped, 1,000 pending"
    )


def test_terminals_count_in_plain_english_whatever_the_language_of_the_reader() -> None:
    with override("de"):
        assert labels.counts_label({Phase.SUCCEEDED: 1_000}) == "1.000 succeeded"
        assert text.counts_label({Phase.SUCCEEDED: 1_000}) == "1000 succeeded"


def test_every_type_of_node_has_a_badge_but_tasks() -> None:
    badges = {kind: labels.type_labels(kind) for kind in NodeType}
    assert badges.pop(NodeType.TASK) == ("", "")
    assert all(badge and meaning for badge, meaning in badges.values())


def test_a_forced_cancellation_says_that_tasks_are_terminated() -> None:
    assert labels.cancel_outcome(2, 1) == (
        "Canceled. 2 tasks will not start. 1 running was asked to stop."
    )
    assert labels.cancel_outcome(0, 2, force=True) == "Canceled. 2 running were terminated."


@pytest.mark.parametrize(
    ("seconds", "label"),
    [
        (44, "less than a minute"),
        (45, "about 1 minute"),
        (5_000, "about 83 minutes"),
        (7_200, "about 2 hours"),
        (400_000, "about 5 days"),
    ],
)
def test_an_estimate_is_rounded_to_the_unit_that_matters(seconds: float, label: str) -> None:
    assert rough_duration(seconds) == label


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTP://example.com", "HTTP://example.com"),
        ("javascript:alert(1)", ""),
        (" https://example.com", ""),
        ("", ""),
    ],
)
def test_only_web_addresses_become_links(url: str, link: str) -> None:
    assert safe_link(url) == link
