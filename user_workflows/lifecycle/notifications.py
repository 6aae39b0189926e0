"""Telling receivers what was settled, after it was stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.utils.timezone import now

from .. import user_task_stopped, workflow_finished
from ..db.chunks import chunked
from ..db.statements import select_node
from ..db.tables import statuses
from ..phases import Phase


class SettledNode(NamedTuple):
    """A node that the caller has just settled."""

    pk: int
    is_root: bool


def send_signals(settled: Iterable[SettledNode]) -> None:
    """Sends the signals for nodes that the caller has settled, children before parents.

    No query where nobody listens, but one for each root: it notes that it was announced.
    """
    everybody = user_task_stopped.has_listeners(statuses().model)
    wanted = [node for node in settled if everybody or node.is_root]
    for batch in chunked(wanted):
        found = _fresh_instances([node.pk for node in batch])
        for node in batch:
            if node.pk in found:
                _send_for(found[node.pk], to_everybody=everybody)


def _fresh_instances(pks: list[int]) -> dict[int, Any]:
    """Fresh instances by their keys. A task's end is mostly announced alone, so that is quick."""
    if len(pks) > 1:
        found: dict[int, Any] = statuses().in_bulk(pks)
        return found
    node = select_node(pks[0])
    return {node.pk: node} if node else {}


def _send_for(status: Any, *, to_everybody: bool) -> None:
    if to_everybody:
        user_task_stopped.send_robust(type(status), status=status)
    if status.parent_id is None:
        _send_finished(status)
        statuses().filter(pk=status.pk).update(finished_sent_at=now())


def _send_finished(status: Any) -> None:
    workflow_finished.send_robust(type(status), status=status, verdict=Phase(status.phase))


def send_missed_signal(pk: int) -> bool:
    """Sends ``workflow_finished`` for a root whose process died before it could; only once."""
    unsent = statuses().filter(pk=pk, finished_sent_at__isnull=True, settled_at__isnull=False)
    if not unsent.update(finished_sent_at=now()):
        return False
    _send_finished(statuses().get(pk=pk))
    return True
