"""The pages that show workflows: the list, one workflow, its graph, its archive."""

from __future__ import annotations

from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from ..diagram import diagram
from ..phases import Phase
from ..reports import archives
from . import changes
from .artifacts import artifact_section
from .base import Page
from .failures import failure_context
from .header import Header, worker_health
from .list_rows import ListRow
from .view_state import ViewState, filter_context
from .visible_rows import VisibleRows

#: Workflows on a page of the list.
PER_PAGE = 25
#: The values of ``phase`` in the address of the list, each with its label and its condition.
LIST_FILTERS = {
    "running": (_("Running"), Q(settled_at__isnull=True)),
    "succeeded": (_("Succeeded"), Q(phase__in=(Phase.SUCCEEDED, Phase.PARTIAL))),
    "failed": (_("Failed"), Q(phase=Phase.FAILED)),
    "canceled": (_("Canceled"), Q(phase__in=(Phase.CANCELED, Phase.SKIPPED))),
}


@method_decorator(never_cache, name="dispatch")
class ListPage(Page):
    """My tasks: the workflows that a user may see, newest first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return a page of the list, narrowed by ``phase``, ``subject`` and ``q``."""
        roots = self.nodes().filter(parent__isnull=True).order_by("-created", "-pk")
        phase, subject = request.GET.get("phase", ""), request.GET.get("subject", "")
        search = request.GET.get("q", "").replace("\0", "").strip()[:200]
        found = roots.filter(LIST_FILTERS[phase][1]) if phase in LIST_FILTERS else roots
        if subject:
            found = found.filter(subject=subject)
        if search:
            found = found.filter(Q(name__icontains=search) | Q(subject__icontains=search))
        page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
        at = now()
        others = roots.exclude(subject="").order_by("subject")
        subjects = set(others.values_list("subject", flat=True).distinct()[:200])
        query = request.GET.copy()
        query.pop("page", None)
        context = {
            "page": page,
            "rows": [ListRow(node=root, at=at, reader=request.user) for root in page],
            "groups": {name: label for name, (label, _) in LIST_FILTERS.items()},
            "subjects": sorted(subjects | {subject} - {""}),
            "phase": phase if phase in LIST_FILTERS else "",
            "subject": subject,
            "search": search,
            "is_filter": bool(phase or subject or search),
            "query": query.urlencode(),
        }
        return render(request, "user_workflows/list.html", context)


@method_decorator(never_cache, name="dispatch")
class DetailPage(Page):
    """One workflow: its header, failures, tree and artifacts."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Return the page; for a part of a workflow, redirect to it in the page of the whole."""
        root = self.node(uuid)
        if root.parent_id is not None:
            page = reverse("user_workflows:detail", args=[self.root_of(root).uuid])
            return HttpResponseRedirect(f"{page}?node={uuid}#node-{uuid}")
        at = now()
        top = root.tree()
        artifacts = changes.artifact_counts(root)
        view_state = ViewState.of(request.GET)
        visible = VisibleRows(top, view_state, at=at, artifacts=artifacts)
        header = Header(
            node=root, at=at, counts=visible.counts, health=worker_health(top, at),
            artifacts=sum(artifacts.values()), user=request.user,
        )  # fmt: skip
        visible.can_force = header.can_force
        context = {
            "summary": header,
            "root": root,
            "view_state": view_state,
            **filter_context(view_state, visible.counts),
            "rows": list(visible.rows()),
            "found": visible.found,
            **failure_context(root),
            "artifacts": artifact_section(root),
            "is_own": root.user_id == request.user.pk,
        }
        return render(request, "user_workflows/detail.html", context)


class GraphPage(Page):
    """The dependency graph: which task waits for which."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Return the graph of a workflow; for a part of one, redirect to that of the whole."""
        node = self.node(uuid)
        if node.parent_id is not None:
            return redirect("user_workflows:graph", uuid=self.root_of(node).uuid)
        at, page = now(), reverse("user_workflows:detail", args=[node.uuid])
        context = {"root": node, "drawing": diagram(node.tree(), link=page, at=at), "at": at}
        return render(request, "user_workflows/graph.html", context)


class Archive(Page):
    """All artifacts below a node as one zip."""

    def get(self, request: HttpRequest, uuid: UUID) -> StreamingHttpResponse:
        """Return the archive, which is made while it is sent."""
        return archives.zip_response(self.node(uuid))
