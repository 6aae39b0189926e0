"""The table of verdicts, line by line, and which phase may follow which."""

import itertools

import pytest

from user_workflows.phases import (
    BREAKS,
    REPLACES,
    STATE_TEXTS,
    TERMINAL,
    WAITING,
    Child,
    NodeType,
    Phase,
    phase_of,
    verdict,
)

PENDING, RUNNING, RETRYING, SUCCEEDED, PARTIAL, FAILED, CANCELED, SKIPPED = Phase


def settled(*phases: Phase) -> list[Child]:
    return [Child(phase, False, True) for phase in phases]


def still_open(*phases: Phase) -> list[Child]:
    return [Child(phase, False, False) for phase in phases]


ALLOWED = Child(FAILED, True, True)


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        # some child failed and was not allowed to
        (settled(FAILED), FAILED),
        (settled(SUCCEEDED, FAILED) + still_open(RUNNING), FAILED),
        (settled(FAILED, CANCELED, SKIPPED), FAILED),
        ([*settled(FAILED), ALLOWED], FAILED),
        (still_open(FAILED, PENDING), FAILED),
        # some child was canceled
        (settled(CANCELED), CANCELED),
        (settled(CANCELED, SUCCEEDED, SKIPPED), CANCELED),
        (settled(CANCELED) + still_open(RUNNING), CANCELED),
        ([*settled(CANCELED, PARTIAL), ALLOWED], CANCELED),
        # all settled, and one failed with permission, or is partial itself
        ([ALLOWED], PARTIAL),
        ([*settled(SUCCEEDED), ALLOWED], PARTIAL),
        (settled(SUCCEEDED, PARTIAL), PARTIAL),
        ([*settled(SKIPPED), ALLOWED], PARTIAL),
        # all settled, all skipped
        (settled(SKIPPED), SKIPPED),
        (settled(SKIPPED, SKIPPED), SKIPPED),
        # all settled, some skipped
        (settled(SUCCEEDED, SKIPPED), CANCELED),
        # all settled, else
        (settled(SUCCEEDED, SUCCEEDED), SUCCEEDED),
        ([], SUCCEEDED),
        # has started, or ended
        (still_open(RUNNING, PENDING), RUNNING),
        (still_open(RETRYING), RUNNING),
        (settled(SUCCEEDED) + still_open(PENDING), RUNNING),
        (settled(SKIPPED) + still_open(PENDING), RUNNING),
        ([ALLOWED, *still_open(PENDING)], RUNNING),
        (settled(PARTIAL) + still_open(RUNNING), RUNNING),
        # else
        (still_open(PENDING), PENDING),
        (still_open(PENDING, PENDING), PENDING),
    ],
)
def test_the_verdict_on_a_container(children: list[Child], expected: Phase) -> None:
    for order in itertools.islice(itertools.permutations(children), 24):
        assert verdict(order) is expected
    assert verdict(iter(children * 2)) is expected


def test_a_container_with_only_settled_children_has_an_outcome() -> None:
    kinds = [Child(phase, allowed, True) for phase in TERMINAL for allowed in (False, True)]
    for size in range(4):
        for children in itertools.combinations(kinds, size):
            assert verdict(children) in TERMINAL


def test_an_open_container_shows_an_outcome_only_if_that_can_not_become_better() -> None:
    kinds = [Child(phase, a, s) for phase in Phase for a in (False, True) for s in (False, True)]
    for children in itertools.combinations(kinds, 2):
        if not all(child.settled for child in children):
            assert verdict(children) in {PENDING, RUNNING, FAILED, CANCELED}


@pytest.mark.parametrize(
    ("event", "replaced"),
    [
        (RUNNING, {PENDING, RETRYING, RUNNING}),
        (RETRYING, {PENDING, RETRYING, RUNNING, SUCCEEDED}),
        (SUCCEEDED, {PENDING, RETRYING, RUNNING}),
        (FAILED, {PENDING, RETRYING, RUNNING, SUCCEEDED}),
        (CANCELED, {PENDING, RETRYING, RUNNING}),
        (SKIPPED, {PENDING}),
    ],
)
def test_what_an_event_on_a_leaf_replaces(event: Phase, replaced: set[Phase]) -> None:
    assert REPLACES[event] == replaced


def test_terminal_phases_stick_but_for_a_failure_after_success() -> None:
    for event, replaced in REPLACES.items():
        stuck = replaced & TERMINAL
        assert stuck == ({SUCCEEDED} if event in (FAILED, RETRYING) else set())


def test_a_failure_outdoes_a_cancellation_on_a_container_and_never_the_reverse() -> None:
    assert CANCELED in BREAKS[FAILED]
    assert FAILED not in BREAKS[CANCELED]
    assert all(phase not in BREAKS[phase] for phase in BREAKS)


def test_each_phase_has_a_text_of_its_own_that_leads_back_to_it() -> None:
    assert len(set(STATE_TEXTS.values())) == len(Phase)
    for phase in Phase:
        assert phase_of(phase.state) is phase
        assert phase.is_terminal == (phase in TERMINAL)


@pytest.mark.parametrize("text", ["Sending messages", "", "succeeded", "PENDING"])
def test_a_text_of_the_tasks_own_means_that_it_is_running(text: str) -> None:
    assert phase_of(text) is RUNNING


def test_the_texts_of_django_user_tasks_are_kept() -> None:
    kept = {PENDING: "Pending", RUNNING: "In Progress", RETRYING: "Retrying"}
    kept |= {SUCCEEDED: "Succeeded", FAILED: "Failed", CANCELED: "Canceled"}
    assert {phase: phase.state for phase in kept} == kept


def test_waiting_phases_are_those_of_a_task_that_no_worker_runs() -> None:
    assert {PENDING, RETRYING} == WAITING


def test_only_members_of_chains_and_chords_wait_for_the_one_before() -> None:
    assert [kind for kind in NodeType if kind.in_order] == [NodeType.CHAIN, NodeType.CHORD]
