"""A workflow's tree as lines of text: for terminals, logs and documents.

    print(terminal.as_text(status.tree()))

Nothing here reads the database or knows a terminal: ``Picture`` makes lines of a ``TreeNode``,
and whoever shows them says how much room there is. Needs rich (the extra ``terminal``).
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
    """The whole tree as plain text.

    Arguments:
        texts: why leaves failed, by primary key.
        width: the terminal cells that a line may take; else as many as the names need.
        at: the time up to which running nodes have run; now, if not given.
    """
    return plain(Picture(tree, texts=texts or {}, at=at).lines(width))
