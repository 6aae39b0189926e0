"""Finding what was lost: workers, messages, and the second of two steps.

Run ``reap`` every minute or so, from as many places as you like: each repair is a conditional
UPDATE that one of them wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery import current_app
from celery.result import AsyncResult
from celery.states import FAILURE, REVOKED, SUCCESS
from django.db.models import Count, Q
from django.utils.timesince import timesince
from django.utils.timezone import now
from django.utils.translation import gettext

from .. import graph
from ..conf import settings
from ..db.chunks import chunked
from ..lifecycle import containers, notifications, progress, propagation, transitions
from ..lifecycle.notifications import send_signals
from ..models import UserTaskStatus
from ..phases import BREAKS, WAITING, NodeType, Phase
from ..tree.nodes import TreeNode, read_tree

logger = logging.getLogger(__name__)

#: A process that settles a node needs less than this for all that follows from it.
GRACE = timedelta(minutes=1)
#: Receivers of ``workflow_finished`` need less than this. It is sent, then noted as sent: if both
#: cannot be had, a signal that comes twice is better than one that never comes.
RECEIVER_GRACE = timedelta(minutes=10)
#: After this time without a worker a task whose turn has come is reported.
UNTAKEN_AFTER = timedelta(hours=1)
#: What Celery's Redis transport waits before it delivers a message again, in seconds. RabbitMQ
#: does so at once; there it is the time that is given to a worker to get free.
VISIBILITY_TIMEOUT = 3600

_OUTCOMES = {SUCCESS: Phase.SUCCEEDED, FAILURE: Phase.FAILED, REVOKED: Phase.CANCELED}


@dataclass(slots=True)
class Report:
    """What was found, by the ``uuid`` of the nodes."""

    lost: list[Any] = field(default_factory=list)
    """Running tasks that were failed: their worker is gone."""
    recovered: list[Any] = field(default_factory=list)
    """Tasks whose end only the result backend knew."""
    settled: list[Any] = field(default_factory=list)
    """Workflows that were mended: a process had died between two steps."""
    announced: list[Any] = field(default_factory=list)
    """Workflows whose ``workflow_finished`` was sent late."""
    waiting: list[Any] = field(default_factory=list)
    """Tasks that no worker took, long after their turn; perhaps their message is lost."""


def reap() -> Report:
    """Looks once for all that was lost, and repairs it.

    Cost: one query; three for each 500 workflows that are open, and one for each 500 containers
    in them, however many others there are; one for each open workflow in which something has
    waited for an hour, be it in vain or not; and a few for each thing found.
    """
    report = Report()
    unfinished = UserTaskStatus.objects.roots().filter(finished_sent_at__isnull=True)
    roots = list(unfinished.order_by("pk").values_list("pk", "uuid", "settled_at"))
    # By their keys, not by a subquery: PostgreSQL would expect it to find very many.
    for tree_ids in chunked([pk for pk, _, settled_at in roots if settled_at is None]):
        nodes = UserTaskStatus.objects.active().filter(tree_id__in=tree_ids)
        for leaf in _stalled_leaves(nodes):
            _reap_stalled(leaf, report)
        for root in _half_settled_roots(nodes):
            if _complete_root(root):
                report.settled.append(root.uuid)
        for node, since in _untaken_leaves(nodes):
            _reap_untaken(node, since, report)
    for pk, uuid, settled_at in roots:
        late = settled_at is not None and settled_at < now() - RECEIVER_GRACE
        if late and notifications.send_missed_signal(pk):
            report.announced.append(uuid)
    return report


# -- workers --------------------------------------------------------------------------------------


def _stalled_leaves(nodes: Any) -> list[UserTaskStatus]:
    """Those of these leaves that a worker has started, and of which nothing was heard for long."""
    started = nodes.filter(
        node_type=NodeType.TASK,
        ended_at__isnull=True,
        phase__in=(Phase.RUNNING, Phase.CANCELED, Phase.FAILED, Phase.SUCCEEDED),
        last_seen_at__lt=now() - settings.LOST_AFTER,
    )
    return list(started.order_by("last_seen_at"))


def _reap_stalled(leaf: UserTaskStatus, report: Report) -> None:
    if _settle_from_backend(leaf):
        report.recovered.append(leaf.uuid)
        return
    assert leaf.last_seen_at is not None  # noqa: S101
    silence = now() - leaf.last_seen_at
    if silence < settings.LOST_AFTER + _redelivery_delay(leaf):
        return
    if not UserTaskStatus.objects.filter(pk=leaf.pk, last_seen_at=leaf.last_seen_at).exists():
        return  # It was heard of in this moment.
    words = gettext("Lost: no sign of life for %(silence)s.") % {
        "silence": timesince(leaf.last_seen_at) if silence >= timedelta(minutes=1) else silence
    }
    if transitions.settle(leaf, Phase.FAILED, message=words, attempt=leaf.attempts, abandoned=True):
        report.lost.append(leaf.uuid)


def _redelivery_delay(leaf: UserTaskStatus) -> timedelta:
    """How much later the broker may still deliver the message of a running task again."""
    task = current_app.tasks.get(leaf.task_class)
    acks_late = current_app.conf.task_acks_late if task is None else task.acks_late
    if not acks_late:
        return timedelta(0)
    options = current_app.conf.broker_transport_options or {}
    return timedelta(seconds=options.get("visibility_timeout", VISIBILITY_TIMEOUT))


def _settle_from_backend(leaf: UserTaskStatus) -> bool:
    """Takes the end of a task from the result backend, if it is there."""
    try:
        result: AsyncResult[Any] = AsyncResult(leaf.task_id)
        outcome = _OUTCOMES.get(result.state)
        words = str(result.result or "") if outcome is Phase.FAILED else ""
    except Exception:
        logger.debug("The result backend does not tell of %s.", leaf.task_id, exc_info=True)
        return False
    return outcome is not None and transitions.settle(
        leaf, outcome, message=words, attempt=leaf.attempts, abandoned=True
    )


# -- steps ----------------------------------------------------------------------------------------


def _half_settled_roots(nodes: Any) -> list[UserTaskStatus]:
    """The roots above these nodes where somebody who settled one has not gone on from there.

    What shows that: a container in which all was settled a while ago, or one that does not show
    that a child of it has failed or was canceled.
    """
    before = now() - GRACE
    found = nodes.filter(is_container=True).order_by()
    above = {row.pk: row for row in found.only("tree_id", "phase")}
    ended = Q(settled_at__lt=before)
    half = set()
    for pks in chunked(list(above)):
        children = UserTaskStatus.objects.filter(parent_id__in=pks).order_by().values("parent_id")
        for child in children.annotate(
            recent=Count("pk", filter=Q(settled_at__isnull=True) | Q(settled_at__gte=before)),
            failed=Count("pk", filter=ended & Q(phase=Phase.FAILED, allow_failure=False)),
            canceled=Count("pk", filter=ended & Q(phase=Phase.CANCELED)),
        ):
            node = above[child["parent_id"]]
            is_half = not child["recent"]
            is_half |= child["failed"] > 0 and node.phase in BREAKS[Phase.FAILED]
            is_half |= child["canceled"] > 0 and node.phase in BREAKS[Phase.CANCELED]
            if is_half:
                half.add(node.tree_id)
    roots = UserTaskStatus.objects.in_bulk(half)
    return [roots[pk] for pk in sorted(roots)]


def _complete_root(root: UserTaskStatus) -> bool:
    """Completes what a process left between two steps. Returns whether there was anything."""
    settled = []
    broken = UserTaskStatus.objects.settled().filter(
        tree_id=root.tree_id, phase__in=(Phase.FAILED, Phase.CANCELED)
    )
    # Not a task that something it has sent has broken: Celery has gone on after it.
    broken = broken.exclude(node_type=NodeType.TASK, caused_by__isnull=False)
    above_open = Q(parent__settled_at__isnull=True)
    for node in broken.filter(above_open).order_by("settled_at"):
        settled += propagation.propagate(node, Phase(node.phase))
    settled += containers.settle_ready(root.tree_id)
    send_signals(settled)
    if settled:
        progress.roll_up(root.tree_id)
    return bool(settled)


# -- messages -------------------------------------------------------------------------------------


def _untaken_leaves(nodes: Any) -> Iterator[tuple[TreeNode, Any]]:
    """Those of these leaves that are pending though their turn came long ago, and when it came."""
    old = nodes.filter(
        phase__in=WAITING, node_type=NodeType.TASK, modified__lt=now() - UNTAKEN_AFTER
    )
    for tree_id in old.order_by("tree_id").values_list("tree_id", flat=True).distinct():
        tree = read_tree(tree_id)
        if tree is None:
            continue
        dependencies = graph.dependencies(tree)
        for leaf in tree.leaves():
            if leaf.phase not in WAITING:
                continue
            awaited = graph.waits_for(dependencies, leaf)
            before = [n for n in awaited if not (n.is_settled or n.ended_at)]
            times = [leaf.created, leaf.last_seen_at]
            times += [n.ended_at or n.settled_at for n in awaited]
            since = max(time for time in times if time)
            if not before and since < now() - UNTAKEN_AFTER:
                yield leaf, since


def _reap_untaken(node: TreeNode, since: Any, report: Report) -> None:
    leaf = UserTaskStatus.objects.filter(pk=node.pk).first()
    if leaf is None or leaf.is_settled:
        return
    if _settle_from_backend(leaf):
        report.recovered.append(leaf.uuid)
        return
    report.waiting.append(leaf.uuid)
    limit = settings.MESSAGE_LOST_AFTER
    if limit is not None and since < now() - limit:
        words = gettext("Lost: no worker has taken it since %(since)s.") % {
            "since": since.isoformat(sep=" ", timespec="minutes")
        }
        transitions.settle(leaf, Phase.FAILED, message=words, attempt=leaf.attempts, abandoned=True)
