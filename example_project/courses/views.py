"""The site's pages, but for those of workflows, which come with `user_workflows.pages`."""

from __future__ import annotations

import posixpath
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from kombu.exceptions import OperationalError

from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.permissions import may

from . import accounts
from .flows import start_once
from .forms import FORMS, StartForm

RECENT = 5
"""Workflows that the home page shows."""


class LogIn(LoginView):
    """The log-in page, which tells the demo user's name and password where that is harmless."""

    redirect_authenticated_user = True

    def get_form_kwargs(self) -> dict[str, Any]:
        """Labels without colons, as on the other pages."""
        return super().get_form_kwargs() | {"label_suffix": ""}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """What the template shows."""
        demo = accounts if settings.DEBUG else None
        return super().get_context_data(**kwargs, demo=demo)


@require_POST
def continue_as_demo(request: HttpRequest) -> HttpResponse:
    """Log in as the demo user, without a password."""
    if not settings.DEBUG:
        raise Http404
    user = accounts.demo_user()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("home")


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """What can be started, and what was."""
    return _home(request)


@login_required
def start(request: HttpRequest, kind: str) -> HttpResponse:
    """Start what was asked for, and go to its page; the home page again if that cannot be."""
    if kind not in FORMS:
        raise Http404
    if request.method != "POST":  # comes from the log-in page
        return redirect("home")
    form = FORMS[kind](request.user, request.POST, request.FILES)  # type: ignore[arg-type]
    if not form.is_valid():
        return _home(request, form)
    try:
        status, started = start_once(form.workflow())
    except OperationalError:  # the message broker is away; the workflow itself says so, too
        messages.error(request, "It could not be sent to the workers. Please try again later.")
        return redirect("home")
    if not started:
        messages.info(request, f"“{status.name}” is already running. This is its page.")
    return redirect(status)


@login_required
def artifact(request: HttpRequest, name: str) -> FileResponse:
    """A file that a task has left, for those who may see the workflow."""
    for each in UserTaskArtifact.objects.filter(file=name).select_related("status"):
        if may(request.user, "view", each) and each.file.storage.exists(name):
            return FileResponse(
                each.file.open("rb"),
                as_attachment=True,  # never shown, whatever it claims to be
                filename=posixpath.basename(name),
                content_type=each.content_type or "application/octet-stream",
            )
    raise Http404


def _home(request: HttpRequest, bound: StartForm | None = None) -> HttpResponse:
    """The home page; with a form in which something is wrong, that in place of an empty one."""
    forms = [make(request.user) for make in FORMS.values()]  # type: ignore[arg-type]
    if bound is not None:
        wrong = next(iter(bound.errors))
        bound.fields[wrong].widget.attrs["autofocus"] = True
        forms = [bound if form.kind == bound.kind else form for form in forms]
    mine = UserTaskStatus.objects.roots().for_user(request.user).order_by("-created", "-pk")
    context = {"forms": forms, "recent": mine[:RECENT], "has_errors": bound is not None}
    return render(request, "home.html", context)
