"""Who may see, cancel and delete what over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_backends
from django.contrib.auth.backends import BaseBackend, ModelBackend
from rest_framework.permissions import BasePermission

from .models import UserTaskArtifact

if TYPE_CHECKING:
    from rest_framework.request import Request

#: Django's own answers to ``has_perm``, which know nothing of single objects.
_PLAIN = (BaseBackend.has_perm, ModelBackend.has_perm)


def decided_by_object() -> bool:
    """Whether one of ``AUTHENTICATION_BACKENDS`` decides on single objects, as ``rules`` does."""
    return any(
        hasattr(backend, "has_perm") and type(backend).has_perm not in _PLAIN
        for backend in get_backends()
    )


def permission(action: str, node: Any) -> str:
    """The full name of the permission to ``view``, ``cancel`` or ``delete`` this instance."""
    return f"{node._meta.app_label}.{action}_{node._meta.model_name}"


def may(user: Any, action: str, node: Any) -> bool:
    """Whether ``user`` may ``view``, ``cancel`` or ``delete`` a status, or ``view`` an artifact.

    An object-permission backend decides where one is configured. Without one it is enough to own
    the workflow, or to be staff and to have the permission for the model.
    """
    if decided_by_object():
        return bool(user.has_perm(permission(action, node), node))
    status = node.status if isinstance(node, UserTaskArtifact) else node
    return status.user_id == user.pk or _is_permitted(user, action, node)


def sees_all(user: Any, model: Any) -> bool:
    """Whether lists show ``user`` everybody's workflows.

    A superuser, and without an object-permission backend staff who may view the model.
    """
    if user.is_superuser or decided_by_object():
        return bool(user.is_superuser)
    return _is_permitted(user, "view", model)


def _is_permitted(user: Any, action: str, model: Any) -> bool:
    # Of those who are no staff the database is not even asked.
    return bool(user.is_staff and user.has_perm(permission(action, model)))


class WorkflowPermission(BasePermission):
    """For the API's views: a known user who may do to the object what the request asks for."""

    actions = {"POST": "cancel", "DELETE": "delete"}
    """By HTTP method; all others only view."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the user is known at all."""
        return bool(request.user and request.user.is_authenticated)

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        """Whether this user may do this to this object."""
        return may(request.user, self.actions.get(request.method or "", "view"), obj)
