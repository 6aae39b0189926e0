"""The version protocol: a page sends the versions that it shows, and gets what has changed."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language

#: Rows that a script may ask for at once.
MAX_ROWS = 100

_ROW = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{0,16})")
_PART = re.compile(r"(\w+)\.([0-9a-f]+)")


def digest(*content: object) -> str:
    """Return a short text that differs where ``repr(content)`` does."""
    return hashlib.blake2s(repr(content).encode(), digest_size=6).hexdigest()


def shown_rows(request: HttpRequest) -> dict[UUID, str]:
    """Return the versions of the rows that a page shows, by node."""
    found = _ROW.findall(request.GET.get("rows", ""))[:MAX_ROWS]
    return {UUID(hex=uuid): version for uuid, version in found}


def shown_parts(request: HttpRequest) -> dict[str, str]:
    """Return the versions of the sections that a page shows, by name."""
    return dict(_PART.findall(request.GET.get("parts", "")))


def etag(*content: object) -> str:
    """Return an entity tag of what a response depends on, and of its language."""
    return f'"{digest(get_language(), *content)}"'


def not_modified(request: HttpRequest, tag: str) -> HttpResponse | None:
    """Return a response of status 304 if the page has the response with this entity tag."""
    if tag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers={"ETag": tag})
    return None
