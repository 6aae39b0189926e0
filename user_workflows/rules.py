"""Rules for sites that use the ``rules`` package: owners and superusers may.

They are not registered by themselves, so that a site can have its own. To use these:

    from user_workflows.rules import add_rules
    add_rules()
"""

from __future__ import annotations

from typing import Any

from rules.permissions import add_perm
from rules.predicates import is_superuser, predicate


@predicate  # type: ignore[untyped-decorator]
def is_status_creator(user: Any, status: Any = None) -> bool:
    """Whether ``user`` started this workflow; yes where none is given."""
    return status is None or status.user_id == user.pk


@predicate  # type: ignore[untyped-decorator]
def is_artifact_creator(user: Any, artifact: Any = None) -> bool:
    """Whether the artifact is of a workflow of ``user``; yes where none is given."""
    return artifact is None or artifact.status.user_id == user.pk


STATUS_PERMISSION = is_status_creator | is_superuser
ARTIFACT_PERMISSION = is_artifact_creator | is_superuser


def add_rules() -> None:
    """Registers them: who started a workflow may view, cancel and delete it, but change nothing."""
    for name, who in {
        "view_usertaskstatus": STATUS_PERMISSION,
        "cancel_usertaskstatus": STATUS_PERMISSION,
        "delete_usertaskstatus": STATUS_PERMISSION,
        "change_usertaskstatus": is_superuser,
        "view_usertaskartifact": ARTIFACT_PERMISSION,
        "change_usertaskartifact": is_superuser,
        "delete_usertaskartifact": is_superuser,
    }.items():
        add_perm(f"user_workflows.{name}", who)  # type: ignore[no-untyped-call]
