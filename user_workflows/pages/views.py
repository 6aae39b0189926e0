"""The pages, and what their script asks for while they are open."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.timezone import now
from django.utils.translation import get_language, gettext
from django.views.decorators.cache import never_cache

from ..diagram import diagram
from ..models import UserTaskStatus
from ..permissions import may
from ..phases import Phase
from ..reports import archives
from ..reports.failures import FailureReport, failure_report
from . import changes
from .artifacts import ArtifactSection, artifact_section
from .base import Fragment, Page
from .counts import PhaseCounts
from .header import Header, WorkerHealth, worker_health
from .icons import icon
from .list_rows import GROUPS, ListRow
from .tree_rows import digest
from .visible_rows import PHASE_FILTERS, ViewState, VisibleRows

#: Failed tasks that the page tells of.
MAX_FAILURES = 10
#: Workflows on a page of the list, and rows that a script may ask after at once.
PER_PAGE, MAX_ROWS = 25, 100

_SHOWN = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{0,16})")


def _shown_versions(request: HttpRequest) -> dict[UUID, str]:
    """The rows that a page shows, with their versions."""
    given = _SHOWN.findall(request.GET.get("rows", ""))[:MAX_ROWS]
    return {UUID(hex=uuid): version for uuid, version in given}


def _etag(*content: Any) -> str:
    return f'"{digest((get_language(), *content))}"'


def _is_known(request: HttpRequest, tag: str) -> bool:
    return tag in request.headers.get("If-None-Match", "")


def _unchanged(tag: str) -> HttpResponse:
    return HttpResponse(status=304, headers={"ETag": tag})


class _WorkflowPage(Page):
    """A page about one workflow."""

    def summary(
        self, root: UserTaskStatus, tally: PhaseCounts, found: WorkerHealth, at: Any, artifacts: int
    ) -> Header:
        """What the head says."""
        user = self.request.user
        return Header(
            root,
            tally,
            found,
            at,
            may_cancel=may(user, "cancel", root),
            may_delete=may(user, "delete", root),
            artifacts=artifacts,
        )


def _failure_context(found: FailureReport) -> dict[str, Any]:
    """What the templates need to tell of failures."""
    phase = Phase.PARTIAL if found.allowed == found.count else Phase.FAILED
    return {"failures": found, "failures_icon": icon(phase), "failures_version": digest(found)}


@method_decorator(never_cache, name="dispatch")
class DetailPage(_WorkflowPage):
    """One workflow: its head, what failed, its tree, what it has left."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """The page as it is now; for a part of a workflow, the way to it in the whole."""
        root = self.node(uuid)
        if root.parent_id is not None:
            page = reverse("user_workflows:detail", args=[self.root_of(root).uuid])
            return HttpResponseRedirect(f"{page}?node={uuid}#node-{uuid}")
        at = now()
        top = root.tree()
        artifacts = changes.artifact_counts(root)
        found = worker_health(top, at)
        wish = ViewState.of(request.GET)
        opening = VisibleRows(top, wish, at=at, artifacts=artifacts)
        summary = self.summary(root, opening.tally, found, at, sum(artifacts.values()))
        opening.can_force = summary.can_force
        failed = failure_report(root, MAX_FAILURES)
        left = artifact_section(root)
        shown: dict[str, Any] = {
            "summary": summary,
            "root": root,
            "wish": wish,
            "asked": _query_string(wish.phase, wish.search),
            **_filter_links(wish, opening.tally),
            "rows": list(opening.rows()),
            "found": opening.found,
            **_failure_context(failed),
            "shelf": left,
            "is_own": root.user_id == request.user.pk,
        }
        return render(request, "user_workflows/detail.html", shown)


def _filter_links(wish: ViewState, tally: PhaseCounts) -> dict[str, Any]:
    """The links that narrow the tree to some phases; one that would find nothing is hidden."""
    made: list[dict[str, Any]] = [
        {"value": "", "label": gettext("All"), "count": tally.tasks()},
        *(
            {"value": value, "label": label, "count": tally.tasks(phases)}
            for value, (label, phases) in PHASE_FILTERS.items()
        ),
    ]
    for choice in made:
        choice["query"] = _query_string(choice["value"], wish.search)
        choice["is_chosen"] = choice["value"] == wish.phase
        choice["is_shown"] = choice["count"] or choice["is_chosen"] or not choice["value"]
    return {"choices": made, "choices_version": digest([each["count"] for each in made])}


def _query_string(phase: str, search: str) -> str:
    asked = {"phase": phase, "q": search}
    return "?" + urlencode({name: value for name, value in asked.items() if value})


class Rows(Fragment, _WorkflowPage):
    """The children of one container, for a page that opens it."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Rows of HTML: those below ``of``, from behind its child ``after`` on."""
        root = self.node(uuid)
        at = now()
        top = root.tree()
        wish = ViewState.of(request.GET)
        opening = VisibleRows(top, wish, at=at, artifacts=changes.artifact_counts(root))
        opening.close()
        summary = self.summary(root, opening.tally, worker_health(top, at), at, 0)
        opening.can_force = summary.can_force
        try:
            wanted = UUID(request.GET.get("of", ""))
        except ValueError:
            raise Http404 from None
        node = next((node for node in opening.nodes.values() if node.uuid == wanted), None)
        if node is None:
            raise Http404
        rows = list(opening.below(node, next(iter(wish.after), None)))
        shown = {"rows": rows, "root": root, "summary": summary}
        return render(request, "user_workflows/_rows.html", shown)


class Changes(Fragment, _WorkflowPage):
    """What has changed on an open page."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """The head, the sections and the rows that the page shows in another version.

        ``rows`` are the keys and versions of rows, ``parts`` the names and versions of sections.
        """
        root = self.node(uuid)
        at = now()
        pulse = changes.Snapshot(root, at)
        # What follows from time alone shows within ten seconds.
        clock = int(at.timestamp()) // 10 if root.is_active else 0
        tag = _etag(pulse.mark, clock, request.GET.urlencode())
        if _is_known(request, tag):
            return _unchanged(tag)
        known = _shown_versions(request)
        tally, rows = changes.read_rows(root, known, at)
        if not tally.tasks() and not UserTaskStatus.objects.filter(pk=root.pk).exists():
            raise Http404  # it was deleted while we looked
        summary = self.summary(root, tally, pulse.vitals, at, pulse.artifacts["n"])
        for row in rows:
            row.can_force = summary.can_force
        context = {"root": root, "summary": summary}
        body: dict[str, Any] = {
            "settled": root.is_settled,
            "rows": {
                str(row.uuid): _render(request, "_row.html", {**context, "row": row})
                for row in rows
                if row.version != known[row.uuid]
            },
            "gone": [str(uuid) for uuid in known.keys() - {row.uuid for row in rows}],
            "parts": self._parts(request, root, summary, tally),
        }
        return JsonResponse(body, headers={"ETag": tag, "Cache-Control": "private, no-cache"})

    def _parts(
        self, request: HttpRequest, root: UserTaskStatus, summary: Header, tally: PhaseCounts
    ) -> dict[str, str]:
        known = dict(re.findall(r"(\w+)\.([0-9a-f]+)", request.GET.get("parts", "")))
        context = {
            "root": root, "summary": summary, "is_own": root.user_id == request.user.pk
        }  # fmt: skip
        parts = {}
        if known.get("header") != summary.version:
            parts["header"] = _render(request, "_header.html", context)
        if "choices" in known:
            choices = _filter_links(ViewState.of(request.GET), tally)
            if known["choices"] != choices["choices_version"]:
                parts["choices"] = _render(request, "_choices.html", choices)
        if "failures" in known:
            told = _failure_context(failure_report(root, MAX_FAILURES))
            if known["failures"] != told["failures_version"]:
                shown = {**context, **told}
                parts["failures"] = _render(request, "_failures.html", shown)
        if "artifacts" in known:
            left: ArtifactSection = artifact_section(root)
            if known["artifacts"] != left.version:
                shown = {**context, "shelf": left}
                parts["artifacts"] = _render(request, "_artifacts.html", shown)
        return parts


def _render(request: HttpRequest, template: str, context: dict[str, Any]) -> str:
    return render_to_string(f"user_workflows/{template}", context, request).strip()


# -- the list -------------------------------------------------------------------------------------


@method_decorator(never_cache, name="dispatch")
class ListPage(Page):
    """My tasks: the workflows that a user may see, newest first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """A page of them, of a phase, about a subject, with a word in the name."""
        everything = self.nodes().filter(parent__isnull=True).order_by("-created", "-pk")
        phase, subject = request.GET.get("phase", ""), request.GET.get("subject", "")
        search = request.GET.get("q", "").replace("\0", "").strip()[:200]
        found = everything.filter(GROUPS[phase][1]) if phase in GROUPS else everything
        if subject:
            found = found.filter(subject=subject)
        if search:
            found = found.filter(Q(name__icontains=search) | Q(subject__icontains=search))
        page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
        at = now()
        others = everything.exclude(subject="").order_by("subject")
        subjects = list(others.values_list("subject", flat=True).distinct()[:200])
        query = request.GET.copy()
        query.pop("page", None)
        shown = {
            "page": page,
            "rows": [ListRow(status, at, request.user) for status in page],
            "groups": {name: label for name, (label, _) in GROUPS.items()},
            "subjects": sorted({*subjects, *([subject] if subject else [])}),
            "phase": phase if phase in GROUPS else "",
            "subject": subject,
            "search": search,
            "is_filter": bool(phase or subject or search),
            "query": query.urlencode(),
        }
        return render(request, "user_workflows/list.html", shown)


class ListChanges(Fragment):
    """What has changed on an open list, or in the bar of a workflow on any other page."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """The ``rows`` of whole workflows that are shown in another version."""
        known = _shown_versions(request)
        at = now()
        nodes = self.nodes().filter(uuid__in=known)
        rows = [ListRow(status, at, request.user) for status in nodes]
        rows = [row for row in rows if may(request.user, "view", row.status)]
        versions = sorted((str(row.uuid), row.version) for row in rows)
        tag = _etag(versions, request.GET.urlencode())
        if _is_known(request, tag):
            return _unchanged(tag)
        template = "_progress.html" if "progress" in request.GET else "_overview.html"
        body = {
            "settled": all(row.is_settled for row in rows),
            "rows": {
                str(row.uuid): _render(request, template, {"row": row})
                for row in rows
                if row.version != known[row.uuid]
            },
            "gone": [str(uuid) for uuid in known.keys() - {row.uuid for row in rows}],
            "parts": {},
        }
        return JsonResponse(body, headers={"ETag": tag, "Cache-Control": "private, no-cache"})


# -- a whole workflow in other forms --------------------------------------------------------------


class Archive(Page):
    """All artifacts below a node as one zip."""

    def get(self, request: HttpRequest, uuid: UUID) -> StreamingHttpResponse:
        """The archive, made while it is sent."""
        return archives.zip_response(self.node(uuid))


class GraphPage(Page):
    """Which task waits for which."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """The graph of the whole workflow."""
        node = self.node(uuid)
        if node.parent_id is not None:
            return redirect("user_workflows:graph", uuid=self.root_of(node).uuid)
        at, page = now(), reverse("user_workflows:detail", args=[node.uuid])
        drawing = diagram(node.tree(), link=page, at=at)
        shown = {"root": node, "drawing": drawing, "at": at}
        return render(request, "user_workflows/graph.html", shown)
