"""Permissions to see, cancel and delete workflows over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import get_backends
from django.contrib.auth.backends import BaseBackend, ModelBackend
from rest_framework.permissions import BasePermission

from .models import UserTaskArtifact, UserTaskStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser
    from django.db.models import Model
    from rest_framework.request import Request
    from rest_framework.views import APIView

    User = AbstractUser | AnonymousUser
    Item = UserTaskStatus | UserTaskArtifact

#: Django's own ``has_perm`` methods, which know nothing of single objects.
_PLAIN = (BaseBackend.has_perm, ModelBackend.has_perm)


def decided_by_object() -> bool:
    """Return whether a backend in ``AUTHENTICATION_BACKENDS`` decides by object, as ``rules``."""
    return any(
        hasattr(backend, "has_perm") and type(backend).has_perm not in _PLAIN
        for backend in get_backends()
    )


def permission(action: str, model: Model | type[Model]) -> str:
    """Return the full name of the permission to ``view``, ``cancel`` or ``delete`` instances."""
    return f"{model._meta.app_label}.{action}_{model._meta.model_name}"


def may(user: User, action: str, node: Item) -> bool:
    """Return whether ``user`` may ``view``, ``cancel`` or ``delete`` a status or an artifact.

    An object-permission backend decides where one is configured. Without one it is enough to own
    the workflow, or to be staff and to have the permission for the model.
    """
    if decided_by_object():
        return bool(user.has_perm(permission(action, node), node))
    status = node.status if isinstance(node, UserTaskArtifact) else node
    return status.user_id == user.pk or _is_permitted(user, action, node)


def sees_all(user: User, model: type[Model]) -> bool:
    """Return whether lists show ``user`` everybody's workflows.

    They do to superusers, and without an object-permission backend to staff who may view the model.
    """
    if user.is_superuser or decided_by_object():
        return bool(user.is_superuser)
    return _is_permitted(user, "view", model)


def _is_permitted(user: User, action: str, model: Model | type[Model]) -> bool:
    # For users who are not staff, not even the database is asked.
    return bool(user.is_staff and user.has_perm(permission(action, model)))


class WorkflowPermission(BasePermission):
    """Admits known users who may do to the object what the HTTP method asks for."""

    actions = {"POST": "cancel", "DELETE": "delete"}
    """By HTTP method; all others only view."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.is_authenticated)

    def has_object_permission(self, request: Request, view: APIView, obj: Item) -> bool:
        return may(request.user, self.actions.get(request.method or "", "view"), obj)
