"""Paths: the names on the way from the top of a subtree down to its nodes."""

from collections.abc import Iterable

from ..db.chunks import chunked
from ..models import UserTaskStatus
from ..tree.bounds import within


class Paths:
    """Paths from one node down to nodes below it.

    Queries: one for each level above ``nodes``, if only the paths of these will be asked for; else
    one for all containers.
    """

    def __init__(self, top: UserTaskStatus, nodes: Iterable[UserTaskStatus] | None = None) -> None:
        self._top = top.pk
        self._above: dict[int, tuple[int | None, str]] = {}
        columns = ("pk", "parent_id", "name")
        if nodes is None:
            below = UserTaskStatus.objects.filter(within(top.pk, top.tree_id))
            self._add(below.filter(is_container=True).order_by().values_list(*columns))
            return
        missing = {node.parent_id for node in nodes if node.pk != top.pk}
        while missing := missing - {None, top.pk, *self._above}:
            for batch in chunked([pk for pk in missing if pk is not None]):
                rows = UserTaskStatus.objects.filter(pk__in=batch, tree_id=top.tree_id)
                self._add(rows.order_by().values_list(*columns))
            missing = {self._above[pk][0] for pk in missing if pk in self._above}

    def _add(self, rows: Iterable[tuple[int, int | None, str]]) -> None:
        self._above.update((pk, (parent, name)) for pk, parent, name in rows)

    def of(self, node: UserTaskStatus) -> list[str]:
        """Return the names from the first below the top to the node; empty for the top itself."""
        if node.pk == self._top:
            return []
        names, above = [node.name], node.parent_id
        while above in self._above and above != self._top:
            above, name = self._above[above]
            names.append(name)
        return names[::-1]
