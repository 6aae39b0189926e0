"""A workflow's tree as lines of text: for terminals, logs and documents.

    print(terminal.as_text(status.tree()))

Nothing here reads the database or knows a terminal: ``Picture`` makes lines of a ``TreeNode``,
in a size that the caller gives. Needs rich (the extra ``terminal``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..tree.nodes import TreeNode
from .picture import ASCII, UNICODE, Glyphs, Picture
from .text import Line, plain

__all__ = ["ASCII", "UNICODE", "Glyphs", "Line", "Picture", "as_text", "plain"]


def as_text(
    tree: TreeNode, *, texts: Mapping[int, str] | None = None, width: int | None = None,
    at: datetime | None = None,
) -> str:  # fmt: skip
    """Return the whole tree as plain text, in lines of ``width`` cells or as wide as names need.

    ``texts`` are the messages of failed leaves, by primary key; ``at`` is the time up to which
    running nodes have run: now, if not given.
    """
    return plain(Picture(tree, texts=texts or {}, at=at).lines(width))
