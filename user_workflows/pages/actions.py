"""The actions on the pages: canceling and deleting, each after a question."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db import IntegrityError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from ..fields import ERROR_ARTIFACT
from ..maintenance.deletion import delete_workflow
from ..models import UserTaskStatus
from ..permissions import may
from ..reports import labels
from . import changes
from .base import Page, Refused


@method_decorator([never_cache, csrf_protect], name="dispatch")
class CancelPage(Page):
    """The question whether to cancel a workflow or a branch of one, and the cancellation."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Ask, saying what will happen to how many tasks; ``fragment`` asks for the dialog only."""
        node = self._cancelable(uuid)
        root = self.root_of(node)
        counts = changes.read_counts(node)
        running = counts.stoppable - counts.waiting
        force = "force" in request.GET and counts.stopping > 0
        if force:
            effects = labels.force_effects(counts.stopping + running)
        else:
            effects = labels.cancel_effects(counts.waiting, running, counts.ended)
        context = {
            "node": node, "root": root, "force": force, "effects": effects,
            "is_idle": not force and not counts.stoppable, "back": self._back(node, root),
        }  # fmt: skip
        template = "_cancel.html" if "fragment" in request.GET else "cancel.html"
        return render(request, f"user_workflows/{template}", context)

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Cancel the node; with ``force`` running tasks are terminated."""
        node = self._cancelable(uuid)
        root = self.root_of(node)
        force = bool(request.POST.get("force"))
        done = node.cancel(force=force)
        message = labels.cancel_outcome(done.pending, done.running, force=force)
        if "application/json" in request.headers.get("Accept", ""):
            return JsonResponse({"message": message})
        messages.success(request, message, fail_silently=True)
        return HttpResponseRedirect(self._back(node, root))

    def _cancelable(self, uuid: UUID) -> UserTaskStatus:
        node = self.node(uuid)
        if not may(self.request.user, "cancel", node):
            raise Refused(gettext("You may look at this workflow, but not cancel it."))
        return node

    def _back(self, node: UserTaskStatus, root: UserTaskStatus) -> str:
        page = reverse("user_workflows:detail", args=[root.uuid])
        return page if node.pk == root.pk else f"{page}?node={node.uuid}#node-{node.uuid}"


@method_decorator([never_cache, csrf_protect], name="dispatch")
class DeletePage(Page):
    """The question whether to delete a whole workflow that has ended, and the deletion."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Ask, saying how much will be deleted."""
        root = self._deletable(uuid)
        tasks = sum(root.counts().values())
        artifacts = root.subtree_artifacts().exclude(name=ERROR_ARTIFACT).count()
        return self._question(root, 200, tasks=tasks, artifacts=artifacts)

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Delete the workflow with its artifacts, unless it is active or needed elsewhere."""
        root = self._deletable(uuid)
        if root.is_active:
            return self._question(root, 409)
        try:
            delete_workflow(root)
        except IntegrityError as error:
            is_needed = isinstance(error, (ProtectedError, RestrictedError))
            return self._question(root, 409, is_needed=is_needed, is_busy=not is_needed)
        message = gettext("“%(name)s” was deleted.") % {"name": root.name}
        messages.success(request, message, fail_silently=True)
        return redirect("user_workflows:list")

    def _question(self, root: UserTaskStatus, status: int, **context: object) -> HttpResponse:
        context["root"] = root
        return render(self.request, "user_workflows/delete.html", context, status=status)

    def _deletable(self, uuid: UUID) -> UserTaskStatus:
        root = self.node(uuid)
        if root.parent_id is not None:
            raise Http404("Only a whole workflow can be deleted.")
        if not may(self.request.user, "delete", root):
            raise Refused(gettext("You may look at this workflow, but not delete it."))
        return root
