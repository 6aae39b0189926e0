"""The signals of settled nodes, sent after they were stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.utils.timezone import now

from .. import user_task_stopped, workflow_finished
from ..db.chunks import chunked
from ..db.statements import select_node
from ..db.tables import statuses
from ..phases import Phase
from ..tree.nodes import StoredNode, TreeNode


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
        pks = [node.pk for node in batch]
        # Most tasks end alone, so one key has a quick way.
        found = map(statuses().in_bulk(pks).get, pks) if len(pks) > 1 else [select_node(pks[0])]
        for status in filter(None, found):
            if has_listeners:
                user_task_stopped.send_robust(type(status), status=status)
            if status.parent_id is None:
                verdict = Phase(status.phase)
                workflow_finished.send_robust(type(status), status=status, verdict=verdict)
                statuses().filter(pk=status.pk).update(finished_sent_at=now())


def send_missed_signal(pk: int) -> bool:
    """Send ``workflow_finished`` for a root whose process died before it could; only once."""
    unsent = statuses().filter(pk=pk, finished_sent_at__isnull=True, settled_at__isnull=False)
    if not unsent.update(finished_sent_at=now()):
        return False
    status = statuses().get(pk=pk)
    workflow_finished.send_robust(type(status), status=status, verdict=Phase(status.phase))
    return True
