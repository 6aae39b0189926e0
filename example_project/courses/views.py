"""The site's own pages; those of workflows come with `user_workflows.pages`."""

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
"""Number of workflows that the home page shows."""


class LogIn(LoginView):
    """The log-in page; with `DEBUG` it shows the demo user's name and password."""

    redirect_authenticated_user = True

    def get_form_kwargs(self) -> dict[str, Any]:
        """Leave out the colons after labels, as on the other pages."""
        return super().get_form_kwargs() | {"label_suffix": ""}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the demo user to the template's context, with `DEBUG` only."""
        demo = accounts if settings.DEBUG else None
        return super().get_context_data(**kwargs, demo=demo)


@require_POST
def continue_as_demo(request: HttpRequest) -> HttpResponse:
    """Log in as the demo user, without a password; with `DEBUG` only."""
    if not settings.DEBUG:
        raise Http404
    user = accounts.demo_user()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("home")


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show the forms, and the user's latest workflows."""
    return _render_home(request)


@login_required
def start(request: HttpRequest, kind: str) -> HttpResponse:
    """Start the workflow of a form and redirect to its page; show the home page on errors."""
    if kind not in FORMS:
        raise Http404
    if request.method != "POST":  # a redirect from the log-in page, after the session had ended
        return redirect("home")
    form = FORMS[kind](request.user, request.POST, request.FILES)  # type: ignore[arg-type]
    if not form.is_valid():
        return _render_home(request, form)
    try:
        status, started = start_once(form.workflow())
    except OperationalError:  # no broker; the workflow is stored as failed, with the reason
        messages.error(request, "It could not be sent to the workers. Please try again later.")
        return redirect("home")
    if not started:
        messages.info(request, f"“{status.name}” is already running. This is its page.")
    return redirect(status)


@login_required
def artifact(request: HttpRequest, name: str) -> FileResponse:
    """Serve the file of an artifact to users who may see the artifact."""
    for each in UserTaskArtifact.objects.filter(file=name).select_related("status"):
        if may(request.user, "view", each) and each.file.storage.exists(name):
            return FileResponse(
                each.file.open("rb"),
                as_attachment=True,  # never rendered by the browser, whatever its type
                filename=posixpath.basename(name),
                content_type=each.content_type or "application/octet-stream",
            )
    raise Http404


def _render_home(request: HttpRequest, invalid: StartForm | None = None) -> HttpResponse:
    """Render the home page, with an invalid form in place of the empty one of its kind."""
    forms = [form_class(request.user) for form_class in FORMS.values()]  # type: ignore[arg-type]
    if invalid is not None:
        first_error = next(iter(invalid.errors))
        invalid.fields[first_error].widget.attrs["autofocus"] = True
        forms = [invalid if form.kind == invalid.kind else form for form in forms]
    roots = UserTaskStatus.objects.roots().for_user(request.user).order_by("-created", "-pk")
    context = {"forms": forms, "recent": roots[:RECENT], "has_errors": invalid is not None}
    return render(request, "home.html", context)
