"""Text columns that shorten what does not fit, and the reference to a user."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.db import models

#: Characters that are kept of a name or a state's text; the rest is cut off.
MAX_TEXT_LENGTH = 255
#: The name of artifacts that say why a node failed.
ERROR_ARTIFACT = "Error"

Deconstructed = tuple[str, str, Sequence[object], dict[str, object]]


def storable(text: str) -> str:
    """Return the text without what a database cannot hold.

    Parsers quote binary data, and names of files that are not UTF-8 come with lone surrogates.
    """
    return text.replace("\x00", "\ufffd").encode("utf-8", "backslashreplace").decode()


class _FittingField(models.Field):  # type: ignore[type-arg]
    def get_prep_value(self, value: object) -> object:
        """Return what is sent to the database for ``value``."""
        value = super().get_prep_value(value)
        return storable(value)[: self.max_length] if isinstance(value, str) else value

    def deconstruct(self) -> Deconstructed:
        """Show migrations a plain field of Django: the column is one."""
        name, _, args, kwargs = super().deconstruct()
        return name, f"django.db.models.{self.get_internal_type()}", args, kwargs


class FittingCharField(_FittingField, models.CharField):  # type: ignore[type-arg]
    """A ``CharField`` that cuts what is too long, in look-ups too."""


class FittingTextField(_FittingField, models.TextField):  # type: ignore[type-arg]
    """A ``TextField`` that takes any text."""


class UserForeignKey(models.ForeignKey):  # type: ignore[type-arg]
    """A reference to a user that is called ``usertaskstatus`` there, as in django-user-tasks.

    Where that is installed as well, the name is its own, and this one is ``user_workflows``:
    ``user.user_workflows.roots()``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if apps.is_installed("user_tasks"):
            kwargs.setdefault("related_name", "user_workflows")
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Deconstructed:
        """Show migrations a plain ``ForeignKey``, whatever else is installed."""
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("related_name", None)
        return name, "django.db.models.ForeignKey", args, kwargs
