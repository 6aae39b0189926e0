"""The signals of settled nodes, sent after they were stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from django.utils.timezone import now

from .. import user_task_stopped, workflow_finished
from ..db.chunks import chunked
from ..db.statements import select_node
from ..db.tables import statuses
from ..phases import Phase
from ..tree.nodes import StoredNode, TreeNode

if TYPE_CHECKING:
    from ..models import UserTaskStatus


class SettledNode(NamedTuple):
    """A node that the caller has just settled."""

    pk: int
    is_root: bool

    @classmethod
    def of(cls, node: StoredNode | TreeNode) -> SettledNode:
        return cls(node.pk, node.parent_id is None)


def send_signals(settled: Iterable[SettledNode]) -> None:
    """Send the signals of nodes that the caller has settled, children before parents.

    Queries: two for a root; one for each 500 others if ``user_task_stopped`` has receivers.
    """
    has_listeners = user_task_stopped.has_listeners(statuses().model)
    wanted = [node for node in settled if has_listeners or node.is_root]
    for batch in chunked(wanted):
        found = _fresh_instances([node.pk for node in batch])
        for status in filter(None, (found.get(node.pk) for node in batch)):
            if has_listeners:
                user_task_stopped.send_robust(type(status), status=status)
            if status.parent_id is None:
                _send_finished(status)
                statuses().filter(pk=status.pk).update(finished_sent_at=now())


def _fresh_instances(pks: list[int]) -> dict[int, UserTaskStatus]:
    """Return fresh instances by their keys. Most tasks end alone, so one key has a quick way."""
    if len(pks) > 1:
        return statuses().in_bulk(pks)
    node = select_node(pks[0])
    return {node.pk: node} if node else {}


def _send_finished(status: UserTaskStatus) -> None:
    workflow_finished.send_robust(type(status), status=status, verdict=Phase(status.phase))


def send_missed_signal(pk: int) -> bool:
    """Send ``workflow_finished`` for a root whose process died before it could; only once."""
    unsent = statuses().filter(pk=pk, finished_sent_at__isnull=True, settled_at__isnull=False)
    if not unsent.update(finished_sent_at=now()):
        return False
    _send_finished(statuses().get(pk=pk))
    return True
