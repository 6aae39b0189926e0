"""Workflows in Django's admin: looked at, canceled, deleted; not edited, for workers write them."""

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
from .reports.labels import cancel_outcome
from .tree.nodes import TreeNode

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    _StatusAdmin = admin.ModelAdmin[UserTaskStatus]
    _ArtifactAdmin = admin.ModelAdmin[UserTaskArtifact]
    _ArtifactInline = admin.TabularInline[UserTaskArtifact, UserTaskStatus]
else:
    _StatusAdmin = _ArtifactAdmin = admin.ModelAdmin
    _ArtifactInline = admin.TabularInline

#: Nodes of a tree that are shown on one page.
MAX_NODES = 500


class PartFilter(admin.SimpleListFilter):
    """Whole workflows, unless asked for all nodes."""

    title = _("part")
    parameter_name = "part"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        """What may be asked for beside the default."""
        return [("all", _("All nodes"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Roots, or all."""
        return queryset if self.value() == "all" else queryset.filter(parent__isnull=True)

    def choices(self, changelist: Any) -> Any:
        """The default is what the query does without a parameter."""
        default, *others = super().choices(changelist)
        return [{**default, "display": _("Whole workflows")}, *others]


class _ReadOnly:
    """What workers write to is not edited."""

    def has_add_permission(self, *args: Any) -> bool:
        """Rows are made by submitting workflows."""
        return False

    def has_change_permission(self, *args: Any) -> bool:
        """A node that is edited behind the workers' backs no longer tells the truth."""
        return False


class ArtifactInline(_ReadOnly, _ArtifactInline):
    """What the task of a node has left."""

    model = UserTaskArtifact
    fields = ("name", "content", "content_type", "size", "created")
    readonly_fields = ("content", "created")
    extra = 0
    can_delete = False

    @admin.display(description=_("content"))
    def content(self, artifact: UserTaskArtifact) -> Any:
        """A link to it, or the beginning of the text."""
        return _content(artifact)


def _content(artifact: UserTaskArtifact) -> Any:
    if artifact.file:
        return format_html('<a href="{}">{}</a>', artifact.file.url, artifact.file.name)
    if artifact.url.startswith(("http://", "https://")):
        return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', *[artifact.url] * 2)
    return artifact.text[:1000] or artifact.url


def _progress_bar(completed: int, total: int) -> Any:
    return format_html(
        '<progress value="{}" max="{}"></progress> {}',
        min(completed, total), total or 1, f"{completed} / {total}",
    )  # fmt: skip


@admin.register(UserTaskStatus)
class StatusAdmin(_ReadOnly, _StatusAdmin):
    """Workflows, the newest first; each with its tree."""

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
        (
            _("Details"),
            {
                "classes": ("collapse",),
                "fields": (
                    "uuid", "task_id", "task_class", "node_type", "phase", "attempts",
                    "allow_failure", "created", "started_at", "settled_at", "last_seen_at",
                ),
            },
        ),
    )  # fmt: skip
    readonly_fields = ("bar", "state_text", "took", "way", "tree", "uuid", "node_type", "phase")

    @admin.display(description=_("progress"))
    def bar(self, status: UserTaskStatus) -> Any:
        """A bar, and the steps in numbers; from the stored columns."""
        return _progress_bar(status.completed_steps, status.total_steps)

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, status: UserTaskStatus) -> Any:
        """In the reader's language."""
        return status.state_text

    @admin.display(description=_("duration"))
    def took(self, status: UserTaskStatus) -> str:
        """From the start until it settled, or until now."""
        if status.started_at is None:
            return ""
        return timesince(status.started_at, status.settled_at or now())

    @admin.display(description=_("part of"))
    def way(self, status: UserTaskStatus) -> Any:
        """From the root to the node above this one. One query."""
        above = status.get_ancestors()
        return format_html_join(" / ", "{}", ((_link(node),) for node in above))

    @admin.display(description=_("nodes"))
    def tree(self, status: UserTaskStatus) -> Any:
        """All below this node, indented. One query."""
        top = status.tree()
        nodes = list(top.walk())
        rows = format_html_join(
            "", "<tr><td>{}{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    "\N{NO-BREAK SPACE}" * 4 * (node.level - top.level),
                    _link(node),
                    UserTaskStatus.STATE_TRANSLATIONS.get(node.state, node.state),
                    _progress_bar(node.completed_steps, node.total_steps),
                )
                for node in nodes[:MAX_NODES]
            ),
        )  # fmt: skip
        left = len(nodes) - MAX_NODES
        more = _("and %d more") % left if left > 0 else ""
        return format_html("<table>{}</table>{}", rows, more)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the action to cancel is offered."""
        return request.user.has_perm("user_workflows.cancel_usertaskstatus")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only whole workflows are deleted."""
        if obj is not None and obj.parent_id is not None:
            return False
        return super().has_delete_permission(request, obj)

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[UserTaskStatus]) -> None:
        """Cancels them, and says what that did."""
        pending = running = 0
        for status in queryset:
            done = status.cancel()
            pending, running = pending + done.pending, running + done.running
        self.message_user(request, cancel_outcome(pending, running), messages.SUCCESS)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The workflows by name, all below them by number: there may be thousands."""
        _, counts, _, protected = super().get_deleted_objects(objs, request)
        allowed = all(self.has_delete_permission(request, status) for status in objs)
        refused = set() if allowed else {self.opts.verbose_name}
        return [status.name for status in objs], counts, refused, protected

    def delete_model(self, request: HttpRequest, obj: UserTaskStatus) -> None:
        """Deletes a workflow; one that is open is canceled first."""
        delete_workflow(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserTaskStatus]) -> None:
        """Deletes the selected workflows."""
        for status in queryset:
            self.delete_model(request, status)


def _link(node: UserTaskStatus | TreeNode) -> Any:
    address = reverse("admin:user_workflows_usertaskstatus_change", args=[node.pk])
    return format_html('<a href="{}">{}</a>', address, node.name)


@admin.register(UserTaskArtifact)
class ArtifactAdmin(_ReadOnly, _ArtifactAdmin):
    """What tasks have left, the newest first."""

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
        """Of the node that it is of."""
        return str(artifact.status.name)

    @admin.display(description=_("task"))
    def status_link(self, artifact: UserTaskArtifact) -> Any:
        """The node that it is of."""
        return _link(artifact.status)

    @admin.display(description=_("content"))
    def content(self, artifact: UserTaskArtifact) -> Any:
        """A link to it, or the beginning of the text."""
        return _content(artifact)


#: Their names in django-user-tasks.
UserTaskStatusAdmin, UserTaskArtifactAdmin = StatusAdmin, ArtifactAdmin
