"""Types and phases of nodes, the phases that may follow each, and the verdict of a container."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _


class NodeType(models.TextChoices):
    """The part of a canvas that a node stands for."""

    TASK = "task", _("task")
    CHAIN = "chain", _("chain")
    GROUP = "group", _("group")
    CHORD = "chord", _("chord")
    #: A task (or a chain) and its ``link`` callbacks, which start when it has succeeded.
    LINK = "link", _("link")
    #: A task that replaced itself, around what it was replaced with.
    REPLACED = "replaced", _("replaced task")

    @property
    def in_order(self) -> bool:
        """True for what runs its members one after the other."""
        return self in (NodeType.CHAIN, NodeType.CHORD)


class Phase(models.TextChoices):
    """The closed verdict on a node that all logic runs on."""

    PENDING = "PENDING", _("Pending")
    RUNNING = "RUNNING", _("In Progress")
    RETRYING = "RETRYING", _("Retrying")
    SUCCEEDED = "SUCCEEDED", _("Succeeded")
    PARTIAL = "PARTIAL", _("Succeeded with failures")
    FAILED = "FAILED", _("Failed")
    CANCELED = "CANCELED", _("Canceled")
    SKIPPED = "SKIPPED", _("Skipped")

    @property
    def is_terminal(self) -> bool:
        """True for an outcome, False for a stage on the way to one."""
        return self in TERMINAL

    @property
    def state(self) -> str:
        """The untranslated text that is stored as the node's state."""
        return STATE_TEXTS[self]


#: The stored texts; the first six are django-user-tasks' own.
STATE_TEXTS = {
    Phase.PENDING: "Pending",
    Phase.RUNNING: "In Progress",
    Phase.RETRYING: "Retrying",
    Phase.SUCCEEDED: "Succeeded",
    Phase.PARTIAL: "Succeeded with failures",
    Phase.FAILED: "Failed",
    Phase.CANCELED: "Canceled",
    Phase.SKIPPED: "Skipped",
}
_PHASES = {text: phase for phase, text in STATE_TEXTS.items()}

WAITING = frozenset({Phase.PENDING, Phase.RETRYING})
TERMINAL = frozenset({Phase.SUCCEEDED, Phase.PARTIAL, Phase.FAILED, Phase.CANCELED, Phase.SKIPPED})

#: The phases that an event may replace on a leaf that is not settled. Others stay: a canceled leaf
#: stays Canceled though its code raised, a failed one stays Failed though its code returned. A
#: later exception overrules ``succeed()``.
REPLACES = {
    Phase.RUNNING: frozenset({Phase.PENDING, Phase.RETRYING, Phase.RUNNING}),
    Phase.RETRYING: frozenset({Phase.PENDING, Phase.RETRYING, Phase.RUNNING, Phase.SUCCEEDED}),
    Phase.SUCCEEDED: frozenset({Phase.PENDING, Phase.RETRYING, Phase.RUNNING}),
    Phase.FAILED: frozenset({Phase.PENDING, Phase.RETRYING, Phase.RUNNING, Phase.SUCCEEDED}),
    Phase.CANCELED: frozenset({Phase.PENDING, Phase.RETRYING, Phase.RUNNING}),
    Phase.SKIPPED: frozenset({Phase.PENDING}),
}

#: The verdicts that a child's failure or cancellation may replace on a container that is open.
BREAKS = {
    Phase.FAILED: frozenset(Phase) - {Phase.FAILED},
    Phase.CANCELED: frozenset(Phase) - {Phase.FAILED, Phase.CANCELED},
}


def phase_of(state: str) -> Phase:
    """Return the phase behind a state text; any text of a task's own means that it is running."""
    return _PHASES.get(state, Phase.RUNNING)


class Child(NamedTuple):
    """The part of a child that its container depends on. Equal children need to be given once."""

    phase: Phase
    allow_failure: bool
    settled: bool


def verdict(children: Iterable[Child]) -> Phase:
    """Return the phase of a container of these children.

    As soon as it cannot succeed any more it shows why; when all are settled this is final.
    Read from top to bottom, the first line that holds decides:

    ====================================  ======================================
    some child                            the container
    ====================================  ======================================
    failed and was not allowed to         FAILED
    was canceled                          CANCELED
    (all settled) failed, or is PARTIAL   PARTIAL
    (all settled) - all were skipped      SKIPPED
    (all settled) was skipped             CANCELED
    (all settled) - else, or no child     SUCCEEDED
    has started, or ended                 RUNNING
    - else                                PENDING
    ====================================  ======================================
    """
    seen = set(children)
    phases = {child.phase for child in seen}
    if any(child.phase is Phase.FAILED and not child.allow_failure for child in seen):
        return Phase.FAILED
    if Phase.CANCELED in phases:
        return Phase.CANCELED
    if all(child.settled for child in seen):
        if phases & {Phase.FAILED, Phase.PARTIAL}:
            return Phase.PARTIAL
        if phases == {Phase.SKIPPED}:
            return Phase.SKIPPED
        return Phase.CANCELED if Phase.SKIPPED in phases else Phase.SUCCEEDED
    return Phase.PENDING if phases == {Phase.PENDING} else Phase.RUNNING
