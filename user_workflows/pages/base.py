"""The base of all pages: who may open which is decided as for the REST API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext
from django.views import View
from rest_framework.request import Request

from ..conf import settings
from ..models import UserTaskStatus
from ..permissions import may


class Refused(Exception):
    """The user may see this, but not do what was asked for. The message is shown to the user."""


class Page(LoginRequiredMixin, View):
    """A page for users who are logged in."""

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        """Answer a refusal with its message, and 404 where a workflow is deleted meanwhile."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except Refused as refusal:
            return self.refuse(refusal)
        except UserTaskStatus.DoesNotExist as error:
            raise Http404 from error

    def refuse(self, refusal: Refused) -> HttpResponse:
        """Return the page that says why the request was refused."""
        context = {"reason": str(refusal)}
        return render(self.request, "user_workflows/forbidden.html", context, status=403)

    def nodes(self) -> QuerySet[UserTaskStatus]:
        """Return the nodes that ``USER_WORKFLOWS_STATUS_FILTERS`` lets the user see."""
        request = Request(self.request)
        request.user = self.request.user
        nodes: QuerySet[UserTaskStatus] = UserTaskStatus.objects.all()
        for backend in settings.STATUS_FILTERS:
            nodes = backend().filter_queryset(request, nodes, self)
        return nodes.select_related("user")

    def node(self, uuid: UUID) -> UserTaskStatus:
        """Return a node that the user may view; else raise Http404, or Refused by permission."""
        node = self.nodes().filter(uuid=uuid).first()
        if node is None:
            raise Http404("There is no such workflow.")
        if not may(self.request.user, "view", node):
            raise Refused(gettext("You may not look at this workflow."))
        return node

    def root_of(self, node: UserTaskStatus) -> UserTaskStatus:
        """Return the root of a node's workflow, if the user may view that too."""
        if node.parent_id is None:
            return node
        uuid = UserTaskStatus.objects.filter(pk=node.tree_id).values_list("uuid", flat=True)
        return self.node(uuid.get())


class Fragment(Page):
    """An answer for the script of a page: status codes in place of redirects and messages."""

    def handle_no_permission(self) -> Any:
        """Answer 401 where nobody is logged in any more."""
        return HttpResponse(status=401)

    def refuse(self, refusal: Refused) -> HttpResponse:
        """Answer 403 without a message: the page has its own."""
        return HttpResponse(status=403)
