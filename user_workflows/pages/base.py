"""Who may open which page: decided as for the REST API, by the same filters and permissions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views import View
from rest_framework.request import Request

from ..conf import settings
from ..models import UserTaskStatus
from ..permissions import may


class Refused(Exception):
    """The user may see this, but not do what was asked for. Its text is shown."""


class Page(LoginRequiredMixin, View):
    """A page for those who are logged in."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Says in words what a user may not do."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except Refused as refusal:
            return self.refuse(refusal)
        except UserTaskStatus.DoesNotExist as gone:  # It was deleted while we looked.
            raise Http404 from gone

    def refuse(self, refusal: Refused) -> HttpResponse:
        """The page that says no."""
        shown = {"reason": str(refusal)}
        return render(self.request, "user_workflows/forbidden.html", shown, status=403)

    def nodes(self) -> Any:
        """The nodes that this user may know of, by ``USER_WORKFLOWS_STATUS_FILTERS``."""
        request = Request(self.request)
        request.user = self.request.user
        nodes: Any = UserTaskStatus.objects.all()
        for backend in settings.STATUS_FILTERS:
            nodes = backend().filter_queryset(request, nodes, self)
        return nodes.select_related("user")

    def node(self, uuid: UUID) -> UserTaskStatus:
        """A node that this user may view."""
        node: UserTaskStatus | None = self.nodes().filter(uuid=uuid).first()
        if node is None:
            raise Http404("There is no such workflow.")
        if not may(self.request.user, "view", node):
            raise Refused(gettext("You may not look at this workflow."))
        return node

    def root_of(self, node: UserTaskStatus) -> UserTaskStatus:
        """The whole workflow of a node that this user may view."""
        if node.parent_id is None:
            return node
        uuid = UserTaskStatus.objects.filter(pk=node.tree_id).values_list("uuid", flat=True)
        return self.node(uuid.get())


class Fragment(Page):
    """An answer for the script of a page, which cannot follow a redirect to a log-in page."""

    def handle_no_permission(self) -> Any:
        """Nobody is logged in any more."""
        return HttpResponse(status=401)

    def refuse(self, refusal: Refused) -> HttpResponse:
        """No words: the page has its own."""
        return HttpResponse(status=403)
