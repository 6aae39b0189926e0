"""Workflows in Django's admin: to view, cancel and delete; workers write them, so no edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.timesince import timesince
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from .maintenance.deletion import delete_workflow
from .models import UserTaskArtifact, UserTaskStatus
from .reports.artifact_links import safe_link
from .reports.labels import cancel_outcome
from .tree.nodes import TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrPromise
    from django.utils.safestring import SafeString

    _StatusAdmin = admin.ModelAdmin[UserTaskStatus]
    _ArtifactAdmin = admin.ModelAdmin[UserTaskArtifact]
    _ArtifactInline = admin.TabularInline[UserTaskArtifact, UserTaskStatus]
else:
    _StatusAdmin = _ArtifactAdmin = admin.ModelAdmin
    _ArtifactInline = admin.TabularInline

#: Nodes of a tree that are shown on one page.
MAX_NODES = 500


class PartFilter(admin.SimpleListFilter):
    """A filter that shows whole workflows, or all nodes."""

    title = _("part")
    parameter_name = "part"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, _StrPromise]]:
        """Return the choice beside the default."""
        return [("all", _("All nodes"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[UserTaskStatus]
    ) -> QuerySet[UserTaskStatus]:
        """Return the roots, or all nodes."""
        return queryset if self.value() == "all" else queryset.filter(parent__isnull=True)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield the choices; the first is named after what the default shows."""
        default, *others = super().choices(changelist)
        yield {**default, "display": _("Whole workflows")}
        yield from others


class _ReadOnly:
    """An admin without forms to add or change rows: workers write them."""

    def has_add_permission(self, *args: object) -> bool:
        """Return False: rows are made by submitting workflows."""
        return False

    def has_change_permission(self, *args: object) -> bool:
        """Return False: an edited node would no longer say what its worker does."""
        return False


class _WithContent(_ReadOnly):
    @admin.display(description=_("content"))
    def content(self, artifact: UserTaskArtifact) -> str:
        """Return a link to the artifact, or the beginning of its text."""
        if artifact.file:
            return format_html('<a href="{}">{}</a>', artifact.file.url, artifact.file.name)
        if url := safe_link(artifact.url):
            return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', url, url)
        return artifact.text[:1000] or artifact.url


class ArtifactInline(_WithContent, _ArtifactInline):
    """The artifacts of a node."""

    model = UserTaskArtifact
    fields = ("name", "content", "content_type", "size", "created")
    readonly_fields = ("content", "created")
    extra = 0
    can_delete = False


def _progress_bar(completed: int, total: int) -> SafeString:
    bar = '<progress value="{}" max="{}"></progress> {} / {}'
    return format_html(bar, min(completed, total), total or 1, completed, total)


@admin.register(UserTaskStatus)
class StatusAdmin(_ReadOnly, _StatusAdmin):
    """The admin of workflows, the newest first, each with its tree."""

    list_display = ("name", "bar", "state_text", "user", "action", "subject", "created", "took")
    list_display_links = ("name",)
    list_filter = (PartFilter, "phase", "node_type", "action", "task_class", "created")
    list_select_related = ("user",)
    list_per_page = 50
    search_fields = ("name", "subject", "=task_id", "=uuid")
    ordering = ("-created", "lft")
    show_full_result_count = False
    actions = ("cancel_selected",)
    inlines = (ArtifactInline,)
    fieldsets = (
        (None, {"fields": ("name", "user", "action", "subject", "state_text", "bar", "took")}),
        (_("Tree"), {"fields": ("way", "tree")}),
        (_("Details"), {"classes": ("collapse",), "fields": (
            "uuid", "task_id", "task_class", "node_type", "phase", "attempts",
            "allow_failure", "created", "started_at", "settled_at", "last_seen_at",
        )}),
    )  # fmt: skip
    readonly_fields = ("bar", "state_text", "took", "way", "tree", "uuid", "node_type", "phase")

    @admin.display(description=_("progress"))
    def bar(self, status: UserTaskStatus) -> SafeString:
        """Return a bar and the steps in numbers, from the stored columns."""
        return _progress_bar(status.completed_steps, status.total_steps)

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, status: UserTaskStatus) -> str:
        """Return the state in the reader's language."""
        return str(status.state_text)

    @admin.display(description=_("duration"))
    def took(self, status: UserTaskStatus) -> str:
        """Return the time from the start until the node settled, or until now."""
        if status.started_at is None:
            return ""
        return timesince(status.started_at, status.settled_at or now())

    @admin.display(description=_("part of"))
    def way(self, status: UserTaskStatus) -> SafeString:
        """Return links to the ancestors, from the root down. One query."""
        return format_html_join(" / ", "{}", ((_link(node),) for node in status.get_ancestors()))

    @admin.display(description=_("nodes"))
    def tree(self, status: UserTaskStatus) -> SafeString:
        """Return the subtree of the node, indented. One query."""
        top = status.tree()
        nodes = list(top.walk())
        shown = (
            (
                "\N{NO-BREAK SPACE}" * 4 * (node.level - top.level),
                _link(node),
                UserTaskStatus.STATE_TRANSLATIONS.get(node.state, node.state),
                _progress_bar(node.completed_steps, node.total_steps),
            )
            for node in nodes[:MAX_NODES]
        )
        rows = format_html_join("", "<tr><td>{}{}</td><td>{}</td><td>{}</td></tr>", shown)
        left = len(nodes) - MAX_NODES
        more = _("and %d more") % left if left > 0 else ""
        return format_html("<table>{}</table>{}", rows, more)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user is offered the action to cancel."""
        return request.user.has_perm("user_workflows.cancel_usertaskstatus")

    def has_delete_permission(
        self, request: HttpRequest, obj: UserTaskStatus | None = None
    ) -> bool:
        """Return whether the user may delete this node: a whole workflow, never a part of one."""
        is_part = obj is not None and obj.parent_id is not None
        return not is_part and super().has_delete_permission(request, obj)

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[UserTaskStatus]) -> None:
        """Cancel the selected workflows, and say what that did."""
        pending = running = 0
        for status in queryset:
            done = status.cancel()
            pending, running = pending + done.pending, running + done.running
        self.message_user(request, cancel_outcome(pending, running), messages.SUCCESS)

    def get_deleted_objects(
        self, objs: Sequence[UserTaskStatus] | QuerySet[UserTaskStatus], request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Return the workflows by name, but all below them by number: there may be thousands."""
        _, counts, _, protected = super().get_deleted_objects(objs, request)
        allowed = all(self.has_delete_permission(request, status) for status in objs)
        refused = set() if allowed else {self.opts.verbose_name}
        return [status.name for status in objs], counts, refused, protected

    def delete_model(self, request: HttpRequest, obj: UserTaskStatus) -> None:
        """Delete a workflow; an open one is canceled first."""
        delete_workflow(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserTaskStatus]) -> None:
        """Delete the selected workflows."""
        for status in queryset:
            self.delete_model(request, status)


def _link(node: UserTaskStatus | TreeNode) -> SafeString:
    address = reverse("admin:user_workflows_usertaskstatus_change", args=[node.pk])
    return format_html('<a href="{}">{}</a>', address, node.name)


@admin.register(UserTaskArtifact)
class ArtifactAdmin(_WithContent, _ArtifactAdmin):
    """The admin of artifacts, the newest first."""

    list_display = ("name", "status_name", "content_type", "size", "created")
    list_filter = ("name", "content_type", "created")
    list_select_related = ("status",)
    search_fields = ("name", "status__name", "=uuid")
    ordering = ("-created", "-pk")
    show_full_result_count = False
    fields = ("name", "status_link", "content", "content_type", "size", "uuid", "created")
    readonly_fields = ("status_link", "content", "uuid", "created")

    @admin.display(description=_("task"), ordering="status__name")
    def status_name(self, artifact: UserTaskArtifact) -> str:
        """Return the name of the artifact's node."""
        return str(artifact.status.name)

    @admin.display(description=_("task"))
    def status_link(self, artifact: UserTaskArtifact) -> SafeString:
        """Return a link to the artifact's node."""
        return _link(artifact.status)


#: Their names in django-user-tasks.
UserTaskStatusAdmin, UserTaskArtifactAdmin = StatusAdmin, ArtifactAdmin
