"""Lists in parts, for queries that name each item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunked(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Return the items in slices of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
