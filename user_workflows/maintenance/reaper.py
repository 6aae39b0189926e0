"""Repair of what was lost: workers, messages, and what a process left undone when it died.

Run ``reap`` every minute or so, from as many places as you like: each repair is a conditional
UPDATE that one of them wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from celery import current_app
from celery.result import AsyncResult
from celery.states import FAILURE, REVOKED, SUCCESS
from django.db.models import Count, Q, QuerySet
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
#: Receivers of ``workflow_finished`` need less than this. It is noted as sent after it was sent: a
#: signal that comes twice is better than one that never comes.
RECEIVER_GRACE = timedelta(minutes=10)
#: After this time without a worker a task that waits for no other task is reported.
UNTAKEN_AFTER = timedelta(hours=1)
#: Seconds that the Redis transport (kombu 5.7) waits before it delivers a message again. RabbitMQ
#: does so at once; there it is the time for a worker to become free.
VISIBILITY_TIMEOUT = 3600

_OUTCOMES = {SUCCESS: Phase.SUCCEEDED, FAILURE: Phase.FAILED, REVOKED: Phase.CANCELED}


@dataclass(slots=True)
class Report:
    """The ``uuid`` of the nodes that were found, by what was wrong with them."""

    lost: list[UUID] = field(default_factory=list)
    """Running tasks that were failed: their worker is gone."""
    recovered: list[UUID] = field(default_factory=list)
    """Tasks whose end only the result backend knew."""
    settled: list[UUID] = field(default_factory=list)
    """Workflows that were completed: a process had died between two statements."""
    announced: list[UUID] = field(default_factory=list)
    """Workflows whose ``workflow_finished`` was sent late."""
    waiting: list[UUID] = field(default_factory=list)
    """Tasks that no worker has taken for an hour; perhaps their message is lost."""


def reap() -> Report:
    """Find what was lost, once, and repair it.

    Queries: one; three for each 500 open workflows, and one for each 500 open containers; one for
    each open workflow in which a task has waited for an hour; and a few for each node found.
    """
    report = Report()
    unfinished = UserTaskStatus.objects.roots().filter(finished_sent_at__isnull=True)
    roots = list(unfinished.order_by("pk").values_list("pk", "uuid", "settled_at"))
    # By their keys: of a subquery PostgreSQL would expect very many rows.
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


def _stalled_leaves(nodes: QuerySet[UserTaskStatus]) -> list[UserTaskStatus]:
    """Return the leaves that a worker has started and that have had no heartbeat for long."""
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
    stalled_for = now() - leaf.last_seen_at
    if stalled_for < settings.LOST_AFTER + _redelivery_delay(leaf):
        return
    if not UserTaskStatus.objects.filter(pk=leaf.pk, last_seen_at=leaf.last_seen_at).exists():
        return  # A heartbeat came meanwhile.
    is_long = stalled_for >= timedelta(minutes=1)
    silence = timesince(leaf.last_seen_at) if is_long else stalled_for
    message = gettext("Lost: no heartbeat for %(silence)s.") % {"silence": silence}
    if _settle_abandoned(leaf, Phase.FAILED, message):
        report.lost.append(leaf.uuid)


def _settle_abandoned(leaf: UserTaskStatus, outcome: Phase, message: str) -> bool:
    attempt = leaf.attempts
    return transitions.settle(leaf, outcome, message=message, attempt=attempt, abandoned=True)


def _redelivery_delay(leaf: UserTaskStatus) -> timedelta:
    """Return how much later the broker may still deliver the message of a running task again."""
    task = current_app.tasks.get(leaf.task_class)
    acks_late = current_app.conf.task_acks_late if task is None else task.acks_late
    if not acks_late:
        return timedelta(0)
    options = current_app.conf.broker_transport_options or {}
    return timedelta(seconds=options.get("visibility_timeout", VISIBILITY_TIMEOUT))


def _settle_from_backend(leaf: UserTaskStatus) -> bool:
    """Settle a task as the result backend says it has ended; return False if it does not say."""
    try:
        result: AsyncResult[Any] = AsyncResult(leaf.task_id)
        outcome = _OUTCOMES.get(result.state)
        message = str(result.result or "") if outcome is Phase.FAILED else ""
    except Exception:
        ids = {"task_id": leaf.task_id, "node": leaf.pk, "tree": leaf.tree_id}
        text = "Could not read the result of %s[%s] (node %s, tree %s); check the result backend."
        logger.debug(text, leaf.task_class, *ids.values(), exc_info=True, extra=ids)
        return False
    return outcome is not None and _settle_abandoned(leaf, outcome, message)


def _half_settled_roots(nodes: QuerySet[UserTaskStatus]) -> list[UserTaskStatus]:
    """Return the roots above nodes whose end was written, but not what follows from it.

    These have an open container in which all was settled a while ago, or one that is not marked
    though a child of it has failed or was canceled.
    """
    before = now() - GRACE
    open_containers = nodes.filter(is_container=True).order_by().only("tree_id", "phase")
    containers = {container.pk: container for container in open_containers}
    ended = Q(settled_at__lt=before)
    tree_ids = set()
    for pks in chunked(list(containers)):
        children = UserTaskStatus.objects.filter(parent_id__in=pks).order_by().values("parent_id")
        for child in children.annotate(
            recent=Count("pk", filter=Q(settled_at__isnull=True) | Q(settled_at__gte=before)),
            failed=Count("pk", filter=ended & Q(phase=Phase.FAILED, allow_failure=False)),
            canceled=Count("pk", filter=ended & Q(phase=Phase.CANCELED)),
        ):
            container = containers[child["parent_id"]]
            is_unmarked = child["failed"] > 0 and container.phase in BREAKS[Phase.FAILED]
            is_unmarked |= child["canceled"] > 0 and container.phase in BREAKS[Phase.CANCELED]
            if is_unmarked or not child["recent"]:
                tree_ids.add(container.tree_id)
    roots = UserTaskStatus.objects.in_bulk(tree_ids)
    return [roots[pk] for pk in sorted(roots)]


def _complete_root(root: UserTaskStatus) -> bool:
    """Write what a process has left undone when it died; return whether anything was settled."""
    settled = []
    failed = UserTaskStatus.objects.settled().filter(
        tree_id=root.tree_id, phase__in=(Phase.FAILED, Phase.CANCELED)
    )
    # Not a task that failed by what it has spawned: Celery has gone on after it.
    failed = failed.exclude(node_type=NodeType.TASK, caused_by__isnull=False)
    for node in failed.filter(parent__settled_at__isnull=True).order_by("settled_at"):
        settled += propagation.propagate(node, Phase(node.phase))
    settled += containers.settle_ready(root.tree_id)
    send_signals(settled)
    if settled:
        progress.roll_up(root.tree_id)
    return bool(settled)


def _untaken_leaves(nodes: QuerySet[UserTaskStatus]) -> Iterator[tuple[TreeNode, datetime]]:
    """Yield the leaves that have long waited for a worker, and since when: for no other leaf."""
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
            times = [node.ended_at or node.settled_at for node in awaited]
            is_next = all(times)
            since = max(time for time in (leaf.created, leaf.last_seen_at, *times) if time)
            if is_next and since < now() - UNTAKEN_AFTER:
                yield leaf, since


def _reap_untaken(node: TreeNode, since: datetime, report: Report) -> None:
    leaf = UserTaskStatus.objects.filter(pk=node.pk).first()
    if leaf is None or leaf.is_settled:
        return
    if _settle_from_backend(leaf):
        report.recovered.append(leaf.uuid)
        return
    report.waiting.append(leaf.uuid)
    limit = settings.MESSAGE_LOST_AFTER
    if limit is not None and since < now() - limit:
        moment = {"since": since.isoformat(sep=" ", timespec="minutes")}
        message = gettext("Lost: no worker has taken it since %(since)s.") % moment
        _settle_abandoned(leaf, Phase.FAILED, message)
