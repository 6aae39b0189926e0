"""The answers to the script of an open page: changes, and the children of a node."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.timezone import now

from ..models import UserTaskStatus
from ..permissions import may
from . import changes
from .artifacts import artifact_section
from .base import Fragment
from .counts import PhaseCounts
from .failures import failure_context
from .header import Header, worker_health
from .list_rows import ListRow
from .tree_rows import TreeRow
from .versions import etag, not_modified, shown_parts, shown_rows
from .view_state import ViewState, filter_context
from .visible_rows import VisibleRows


class Rows(Fragment):
    """The children of one node, for a page that opens it."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Return the rows below the node ``of``, from behind its child ``after`` on."""
        root = self.node(uuid)
        at = now()
        top = root.tree()
        view_state = ViewState.of(request.GET)
        visible = VisibleRows(top, view_state, at=at, artifacts=changes.artifact_counts(root))
        visible.close()
        health, counts = worker_health(top, at), visible.counts
        header = Header(node=root, at=at, counts=counts, health=health, user=request.user)
        visible.can_force = header.can_force
        try:
            wanted = UUID(request.GET.get("of", ""))
        except ValueError:
            raise Http404 from None
        node = next((node for node in visible.nodes.values() if node.uuid == wanted), None)
        if node is None:
            raise Http404
        rows = list(visible.below(node, next(iter(view_state.after), None)))
        context = {"rows": rows, "root": root, "summary": header}
        return render(request, "user_workflows/_rows.html", context)


class _ChangesFragment(Fragment):
    def answer(
        self, tag: str, settled: bool, template: str, rows: Sequence[TreeRow | ListRow],
        parts: dict[str, str], context: dict[str, object],
    ) -> JsonResponse:  # fmt: skip
        known = shown_rows(self.request)
        changed = {
            str(row.uuid): self.render(template, {**context, "row": row})
            for row in rows
            if row.version != known[row.uuid]
        }
        gone = [str(uuid) for uuid in known.keys() - {row.uuid for row in rows}]
        body = {"settled": settled, "rows": changed, "gone": gone, "parts": parts}
        return JsonResponse(body, headers={"ETag": tag, "Cache-Control": "private, no-cache"})

    def render(self, template: str, context: dict[str, object]) -> str:
        return render_to_string(f"user_workflows/{template}", context, self.request).strip()


class Changes(_ChangesFragment):
    """The changes of an open page of a workflow."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Return the header, the sections and the rows that the page shows in another version.

        ``rows`` are the keys and versions of rows, ``parts`` the names and versions of sections.
        """
        root = self.node(uuid)
        at = now()
        snapshot = changes.Snapshot(root, at)
        # What follows from time alone shows within ten seconds.
        clock = int(at.timestamp()) // 10 if root.is_active else 0
        tag = etag(snapshot.fingerprint, clock, request.GET.urlencode())
        if (response := not_modified(request, tag)) is not None:
            return response
        counts, rows = changes.read_rows(root, shown_rows(request), at)
        if not counts.tasks() and not UserTaskStatus.objects.filter(pk=root.pk).exists():
            raise Http404  # The workflow was deleted meanwhile.
        header = Header(
            node=root, at=at, counts=counts, health=snapshot.health,
            artifacts=snapshot.artifacts, user=request.user,
        )  # fmt: skip
        for row in rows:
            row.can_force = header.can_force
        context = {"root": root, "summary": header, "is_own": root.user_id == request.user.pk}
        parts = self._changed_parts(root, header, counts, context)
        return self.answer(tag, root.is_settled, "_row.html", rows, parts, context)

    def _changed_parts(
        self, root: UserTaskStatus, header: Header, counts: PhaseCounts, context: dict[str, object]
    ) -> dict[str, str]:
        parts, known = {}, shown_parts(self.request)
        if known.get("header") != header.version:
            parts["header"] = self.render("_header.html", context)
        if "choices" in known:
            choices = filter_context(ViewState.of(self.request.GET), counts)
            if known["choices"] != choices["choices_version"]:
                parts["choices"] = self.render("_choices.html", choices)
        if "failures" in known:
            failures = failure_context(root)
            if known["failures"] != failures["failures_version"]:
                parts["failures"] = self.render("_failures.html", {**context, **failures})
        if "artifacts" in known:
            section = artifact_section(root)
            if known["artifacts"] != section.version:
                context = {**context, "artifacts": section}
                parts["artifacts"] = self.render("_artifacts.html", context)
        return parts


class ListChanges(_ChangesFragment):
    """The changes of an open list, or of the bar of a workflow on any other page."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return those ``rows`` of whole workflows that the page shows in another version."""
        at = now()
        nodes = self.nodes().filter(uuid__in=shown_rows(request))
        rows = [ListRow(node=node, at=at, reader=request.user) for node in nodes]
        rows = [row for row in rows if may(request.user, "view", row.node)]
        versions = sorted((str(row.uuid), row.version) for row in rows)
        tag = etag(versions, request.GET.urlencode())
        if (response := not_modified(request, tag)) is not None:
            return response
        template = "_progress.html" if "progress" in request.GET else "_overview.html"
        return self.answer(tag, all(row.is_settled for row in rows), template, rows, {}, {})
