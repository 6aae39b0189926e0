"""What a user may do to a workflow on its pages: cancel it, delete it; after a question."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db import IntegrityError
from django.db.models import ProtectedError, RestrictedError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
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
    """Asks whether to cancel a workflow or a branch, saying what that will do, and does it."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """The question with the true counts; for the page's dialog, only the part within it."""
        node = self._cancelable(uuid)
        root = self.root_of(node)
        tally = changes.read_counts(node)
        force = "force" in request.GET and tally.stopping > 0
        running = tally.stoppable - tally.waiting
        shown = {
            "node": node,
            "root": root,
            "force": force,
            "is_idle": not (tally.stopping if force else tally.stoppable),
            "effects": labels.force_effects(tally.stopping + running)
            if force
            else labels.cancel_effects(tally.waiting, running, tally.ended),
            "back": self._back(node, root),
        }
        template = "_cancel.html" if "fragment" in request.GET else "cancel.html"
        return render(request, f"user_workflows/{template}", shown)

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Cancels; with ``force`` running tasks are terminated."""
        node = self._cancelable(uuid)
        root = self.root_of(node)
        force = bool(request.POST.get("force"))
        done = node.cancel(force=force)
        said = labels.cancel_outcome(done.pending, done.running, force=force)
        if "application/json" in request.headers.get("Accept", ""):
            return JsonResponse({"said": said})
        messages.success(request, said, fail_silently=True)
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
    """Asks whether to delete a whole workflow that has ended, and does it."""

    def get(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """The question."""
        root = self._deletable(uuid)
        tasks = sum(root.counts().values())
        artifacts = root.subtree_artifacts().exclude(name=ERROR_ARTIFACT).count()
        shown = {"root": root, "tasks": tasks, "artifacts": artifacts}
        return render(request, "user_workflows/delete.html", shown)

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Deletes it with its artifacts."""
        root = self._deletable(uuid)
        if root.is_active:
            return render(request, "user_workflows/delete.html", {"root": root}, status=409)
        try:
            delete_workflow(root)
        except IntegrityError as error:
            is_needed = isinstance(error, (ProtectedError, RestrictedError))
            shown = {"root": root, "is_needed": is_needed, "is_busy": not is_needed}
            return render(request, "user_workflows/delete.html", shown, status=409)
        messages.success(
            request, gettext("“%(name)s” was deleted.") % {"name": root.name}, fail_silently=True
        )
        return redirect("user_workflows:list")

    def _deletable(self, uuid: UUID) -> UserTaskStatus:
        root = self.node(uuid)
        if root.parent_id is not None:
            raise Http404("Only a whole workflow can be deleted.")
        if not may(self.request.user, "delete", root):
            raise Refused(gettext("You may look at this workflow, but not delete it."))
        return root
