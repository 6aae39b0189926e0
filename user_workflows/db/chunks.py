"""Lists in parts, for queries that name each item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def chunked(items: list[Any], size: int = 500) -> Iterator[list[Any]]:
    """The items in lists of at most ``size``, for queries that name each of them."""
    return (items[start : start + size] for start in range(0, len(items), size))
