"""Labels that people read: states, counts, progress, kinds of nodes, cancellations.

All are translatable; terminals and commands stay English by ``translation.override(None)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from ..phases import STATE_TEXTS, NodeType, Phase
from .formatting import format_duration, format_number

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

#: The order in which phases are listed: what went wrong first, then what is going on.
PHASE_ORDER = (
    Phase.FAILED, Phase.RUNNING, Phase.RETRYING, Phase.SUCCEEDED,
    Phase.PARTIAL, Phase.CANCELED, Phase.SKIPPED, Phase.PENDING,
)  # fmt: skip

_COUNTS = {
    Phase.PENDING: ngettext_lazy("%(n)s pending", "%(n)s pending", "count"),
    Phase.RUNNING: ngettext_lazy("%(n)s running", "%(n)s running", "count"),
    Phase.RETRYING: ngettext_lazy("%(n)s retrying", "%(n)s retrying", "count"),
    Phase.SUCCEEDED: ngettext_lazy("%(n)s succeeded", "%(n)s succeeded", "count"),
    Phase.PARTIAL: ngettext_lazy(
        "%(n)s succeeded with failures", "%(n)s succeeded with failures", "count"
    ),
    Phase.FAILED: ngettext_lazy("%(n)s failed", "%(n)s failed", "count"),
    Phase.CANCELED: ngettext_lazy("%(n)s canceled", "%(n)s canceled", "count"),
    Phase.SKIPPED: ngettext_lazy("%(n)s skipped", "%(n)s skipped", "count"),
}
_TYPES = {
    NodeType.TASK: ("", ""),
    NodeType.CHAIN: (_("in order"), _("A chain: one after the other")),
    NodeType.GROUP: (_("at once"), _("A group: all at the same time")),
    NodeType.CHORD: (
        _("at once, then"), _("A chord: all at the same time, then one that waits for them"),
    ),
    NodeType.LINK: (_("with follow-ups"), _("A task and what follows it")),
    NodeType.REPLACED: (_("replaced"), _("A task that other tasks took over from")),
}  # fmt: skip


def state_label(
    phase: Phase, text: str, *, is_settled: bool, running: int = 0, waiting: int = 0,
    several: bool = False, is_allowed: bool = False,
) -> str:  # fmt: skip
    """Return the state of a node: "In Progress", "Sending mail", "Failing (4 still running)".

    ``text`` is the stored state; a task's own is shown while it runs. ``running`` and ``waiting``
    are open tasks, counted where the node can hold ``several``. ``is_allowed`` says of a failed
    node that it was allowed to fail.
    """
    if phase in (Phase.FAILED, Phase.CANCELED) and not is_settled:
        label = gettext("Failing") if phase is Phase.FAILED else gettext("Canceling")
        if rest := _remaining_label(running, waiting, several):
            label = gettext("%(word)s (%(rest)s)") % {"word": label, "rest": rest}
    elif phase is Phase.RUNNING and text.strip() and text not in STATE_TEXTS.values():
        label = text
    else:
        label = str(phase.label)
    if phase is Phase.FAILED and is_allowed:
        return gettext("%(state)s (allowed)") % {"state": label}
    return label


def _remaining_label(running: int, waiting: int, several: bool) -> str:
    if running and not several:
        return gettext("still running")
    if running:
        return ngettext("%(n)d still running", "%(n)d still running", running) % {"n": running}
    if waiting:
        return ngettext("%(n)d still pending", "%(n)d still pending", waiting) % {"n": waiting}
    return ""


def count_label(phase: Phase, tasks: int) -> str:
    """Return the number of tasks in a phase: "480 succeeded", "3 running"."""
    return _COUNTS[phase] % {"count": tasks, "n": format_number(tasks)}


def count_labels(counts: Mapping[Phase, int]) -> dict[Phase, str]:
    """Return the labels of the phases that have tasks, in ``PHASE_ORDER``."""
    return {phase: count_label(phase, counts[phase]) for phase in PHASE_ORDER if counts.get(phase)}


def counts_label(counts: Mapping[Phase, int]) -> str:
    """Return the tasks by phase: "10 failed, 470 succeeded"."""
    return ", ".join(count_labels(counts).values())


def steps_label(completed: int, total: int) -> str:
    """Return the progress in steps: "46 of 92 steps"."""
    label = ngettext("%(done)s of %(total)s step", "%(done)s of %(total)s steps", total)
    return label % {"done": format_number(completed), "total": format_number(total)}


def progress_label(completed: int, total: int, failed: int) -> str:
    """Return the steps and failed tasks as screen readers get them: "46 of 92 steps, 1 failed"."""
    label = steps_label(completed, total) if total else gettext("No steps")
    return f"{label}, {count_label(Phase.FAILED, failed)}" if failed else label


def type_labels(node_type: NodeType) -> tuple[str, str]:
    """Return a container's badge and what the badge means; two empty texts for a task."""
    badge, meaning = _TYPES[node_type]
    return str(badge), str(meaning)


def stalled_label(minutes: int) -> str:
    """Return how long a worker has sent no heartbeat: "no heartbeat for 9 min 00 s"."""
    return gettext("no heartbeat for %(time)s") % {"time": format_duration(minutes * 60)}


_WILL_NOT_START = ngettext_lazy(
    "%(n)d pending task will not start.", "%(n)d pending tasks will not start.", "n"
)
_WILL_BE_ASKED = ngettext_lazy(
    "%(n)d running will be asked to stop.", "%(n)d running will be asked to stop.", "n"
)
_WILL_STAY = ngettext_lazy(
    "%(n)d finished stays, and its artifacts are kept.",
    "%(n)d finished stay, and their artifacts are kept.",
    "n",
)
_WILL_BE_TERMINATED = ngettext_lazy(
    "%(n)d task that was asked to stop and still runs will be ended at once. "
    "What it was doing is lost.",
    "%(n)d tasks that were asked to stop and still run will be ended at once. "
    "What they were doing is lost.",
    "n",
)
_DOES_NOT_START = ngettext_lazy("%(n)d task will not start.", "%(n)d tasks will not start.", "n")
_ASKED = ngettext_lazy("%(n)d running was asked to stop.", "%(n)d running were asked to stop.", "n")
_TERMINATED = ngettext_lazy("%(n)d running was terminated.", "%(n)d running were terminated.", "n")
_STAYS = ngettext_lazy("%(n)d had finished and stays.", "%(n)d had finished and stay.", "n")


def cancel_effects(waiting: int, running: int, finished: int) -> list[str]:
    """Return what canceling will do to tasks that wait, run or have ended, in sentences."""
    return _sentences((waiting, _WILL_NOT_START), (running, _WILL_BE_ASKED), (finished, _WILL_STAY))


def force_effects(running: int) -> list[str]:
    """Return what terminating the tasks that still run will do, in sentences."""
    return _sentences((running, _WILL_BE_TERMINATED))


def cancel_outcome(pending: int, running: int, finished: int = 0, *, force: bool = False) -> str:
    """Return what a cancellation did: "Canceled. 2 tasks will not start."

    ``force`` says that running tasks were terminated rather than asked to stop; ``finished`` are
    the tasks that had ended before, where they are to be mentioned.
    """
    stopped = _TERMINATED if force else _ASKED
    first = gettext("Canceled.")
    if not pending and not running:
        first = gettext("Nothing was canceled: all of it had ended before.")
    rest = _sentences((pending, _DOES_NOT_START), (running, stopped), (finished, _STAYS))
    return " ".join([first, *rest])


def _sentences(*counted: tuple[int, _StrPromise]) -> list[str]:
    return [text % {"n": number} for number, text in counted if number]
