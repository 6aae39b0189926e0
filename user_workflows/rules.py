"""Rules for sites that use the ``rules`` package: owners and superusers may.

A site that wants them calls ``add_rules()``; nothing is registered by itself, so that it can have
its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.permissions import add_perm
from rules.predicates import is_superuser, predicate

if TYPE_CHECKING:
    from .models import UserTaskArtifact, UserTaskStatus
    from .permissions import User


@predicate  # type: ignore[untyped-decorator]
def is_status_creator(user: User, status: UserTaskStatus | None = None) -> bool:
    """Return whether ``user`` started this workflow; True if none is given."""
    return status is None or status.user_id == user.pk


@predicate  # type: ignore[untyped-decorator]
def is_artifact_creator(user: User, artifact: UserTaskArtifact | None = None) -> bool:
    """Return whether the artifact is of a workflow of ``user``; True if none is given."""
    return artifact is None or artifact.status.user_id == user.pk


STATUS_PERMISSION = is_status_creator | is_superuser
ARTIFACT_PERMISSION = is_artifact_creator | is_superuser


def add_rules() -> None:
    """Register the rules. Owners may view, cancel and delete workflows, but not change them."""
    for name, rule in {
        "view_usertaskstatus": STATUS_PERMISSION,
        "cancel_usertaskstatus": STATUS_PERMISSION,
        "delete_usertaskstatus": STATUS_PERMISSION,
        "change_usertaskstatus": is_superuser,
        "view_usertaskartifact": ARTIFACT_PERMISSION,
        "change_usertaskartifact": is_superuser,
        "delete_usertaskartifact": is_superuser,
    }.items():
        add_perm(f"user_workflows.{name}", rule)  # type: ignore[no-untyped-call]
