"""What people read of a node: states, numbers, times; and the sign that goes with each state."""

from __future__ import annotations

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from ..diagram.labels import group_digits as number
from ..diagram.svg import SIGNS
from ..phases import STATE_TEXTS, NodeType, Phase
from ..reports.formatting import format_duration
from .counts import PhaseCounts

_ICONS = {
    phase: mark_safe(  # noqa: S308 - made of constants
        f'<svg class="uw-icon uw-icon-{phase.value.lower()}" viewBox="0 0 16 16" width="16" '
        f'height="16" aria-hidden="true" focusable="false">'
        f'<path fill="currentColor" fill-rule="evenodd" d="{shape}"/></svg>'
    )
    for phase, shape in SIGNS.items()
}


def icon(phase: Phase) -> SafeString:
    """The sign of a phase, for eyes only."""
    return _ICONS[phase]


def state_label(
    phase: Phase, text: str, *, settled: bool, tally: PhaseCounts | None, several: bool
) -> str:
    """The state of a node: "In Progress", "Sending messages", "Failing (4 still running)".

    Arguments:
        text: the state as it is stored; a task's own text is shown while it runs.
        several: whether there may be more than one task here.
    """
    if phase in (Phase.FAILED, Phase.CANCELED) and not settled:
        word = gettext("Failing") if phase is Phase.FAILED else gettext("Canceling")
        rest = _remaining_label(tally, several) if tally else ""
        return gettext("%(word)s (%(rest)s)") % {"word": word, "rest": rest} if rest else word
    if phase is Phase.RUNNING and text not in STATE_TEXTS.values() and text.strip():
        return text
    return str(phase.label)


def _remaining_label(tally: PhaseCounts, several: bool) -> str:
    if tally.running:
        if not several:
            return gettext("still running")
        return ngettext("%(n)d still running", "%(n)d still running", tally.running) % {
            "n": tally.running
        }
    if tally.waiting:
        return ngettext("%(n)d still pending", "%(n)d still pending", tally.waiting) % {
            "n": tally.waiting
        }
    return ""


def steps_label(completed: int, total: int) -> str:
    """ "46 of 92 steps"."""
    return ngettext("%(done)s of %(total)s step", "%(done)s of %(total)s steps", total) % {
        "done": number(completed),
        "total": number(total),
    }


def progress_text(tally: PhaseCounts) -> str:
    """What a screen reader says of a bar: "46 of 92 steps, 1 failed"."""
    words = [steps_label(tally.completed, tally.total) if tally.total else gettext("No steps")]
    failed = tally.tasks([Phase.FAILED])
    if failed:
        words.append(count_label(Phase.FAILED, failed))
    return ", ".join(words)


def count_label(phase: Phase, tasks: int) -> str:
    """ "480 succeeded", "3 running"."""
    texts = {
        Phase.PENDING: ngettext("%(n)s pending", "%(n)s pending", tasks),
        Phase.RUNNING: ngettext("%(n)s running", "%(n)s running", tasks),
        Phase.RETRYING: ngettext("%(n)s retrying", "%(n)s retrying", tasks),
        Phase.SUCCEEDED: ngettext("%(n)s succeeded", "%(n)s succeeded", tasks),
        Phase.PARTIAL: ngettext(
            "%(n)s succeeded with failures", "%(n)s succeeded with failures", tasks
        ),
        Phase.FAILED: ngettext("%(n)s failed", "%(n)s failed", tasks),
        Phase.CANCELED: ngettext("%(n)s canceled", "%(n)s canceled", tasks),
        Phase.SKIPPED: ngettext("%(n)s skipped", "%(n)s skipped", tasks),
    }
    return texts[phase] % {"n": number(tasks)}


#: The order in which counts are told: what went wrong first, then what is going on.
PHASE_ORDER = (
    Phase.FAILED, Phase.RUNNING, Phase.RETRYING, Phase.SUCCEEDED,
    Phase.PARTIAL, Phase.CANCELED, Phase.SKIPPED, Phase.PENDING,
)  # fmt: skip


def legend(tally: PhaseCounts) -> list[tuple[Phase, int, str]]:
    """The phases that tasks are in, each with their number alone and in words."""
    found = [(phase, tally.tasks([phase])) for phase in PHASE_ORDER]
    return [(phase, tasks, count_label(phase, tasks)) for phase, tasks in found if tasks]


def type_badge(kind: NodeType) -> tuple[str, str]:
    """A container's badge, and what it means; two empty texts for a task."""
    return {
        NodeType.TASK: ("", ""),
        NodeType.CHAIN: (gettext("in order"), gettext("A chain: one after the other")),
        NodeType.GROUP: (gettext("at once"), gettext("A group: all at the same time")),
        NodeType.CHORD: (
            gettext("at once, then"),
            gettext("A chord: all at the same time, then one that waits for them"),
        ),
        NodeType.LINK: (gettext("with follow-ups"), gettext("A task and what follows it")),
        NodeType.REPLACED: (gettext("replaced"), gettext("A task that other tasks took over from")),
    }[kind]


def rough_duration(seconds: float) -> str:
    """A rough time in words, for an estimate: "about 3 minutes"."""
    if seconds < 45:
        return gettext("less than a minute")
    minutes = round(seconds / 60)
    if minutes < 90:
        return ngettext("about %(n)d minute", "about %(n)d minutes", minutes) % {"n": minutes}
    hours = round(seconds / 3600)
    if hours < 36:
        return ngettext("about %(n)d hour", "about %(n)d hours", hours) % {"n": hours}
    days = round(seconds / 86400)
    return ngettext("about %(n)d day", "about %(n)d days", days) % {"n": days}


def stalled_label(minutes: int) -> str:
    """How long nothing was heard of a worker: "no sign of life for 9 min"."""
    return gettext("no sign of life for %(time)s") % {"time": format_duration(minutes * 60)}
