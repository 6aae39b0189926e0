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
    tree: TreeNode,
    *,
    texts: Mapping[int, str] | None = None,
    width: int | None = None,
    at: datetime | None = None,
) -> str:
    """Return the whole tree as plain text.

    Args:
        tree: The workflow, or a part of one.
        texts: The messages of failed leaves, by primary key.
        width: The terminal cells that a line may take; as many as the names need, if not given.
        at: The time up to which running nodes have run; now, if not given.
    """
    return plain(Picture(tree, texts=texts or {}, at=at).lines(width))
