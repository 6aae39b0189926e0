"""The user that a workflow belongs to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from ...exceptions import InvalidUser
from .planner import Call


def user_id_of(user: object) -> object:
    """Return the key of a saved user, given as an instance or by key. One query for a key.

    Raises:
        InvalidUser: there is no such user.
    """
    if isinstance(user, get_user_model()):
        if user.pk is None:
            raise InvalidUser("A workflow needs a saved user; this one has no key yet.")
        return user.pk
    pk = None if getattr(user, "is_anonymous", False) else getattr(user, "pk", user)
    if pk is None or not _exists(pk):
        raise InvalidUser(f"A workflow needs a user; there is none for {user!r}.")
    return pk


def user_id_of_call(call: Call) -> object:
    """Return the user of a call outside ``workflow()``: its ``user_id`` argument. One query.

    Raises:
        InvalidUser: it has none, or there is no such user.
    """
    arguments = {**call.kwargs, **call.arguments()}
    if "user_id" not in arguments:
        raise InvalidUser("Each invocation of a UserTaskMixin subclass must include the user_id")
    if not _exists(arguments["user_id"]):
        raise InvalidUser(f"Invalid user_id: {arguments['user_id']}")
    return arguments["user_id"]


def _exists(pk: Any) -> bool:
    try:
        return bool(get_user_model()._default_manager.filter(pk=pk).exists())
    except (TypeError, ValueError, OverflowError, ValidationError):
        return False  # It is no key at all.
