"""The part of a tree that a user wants to see, as the address of the page gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..phases import Phase
from ..tree.nodes import TreeNode
from .counts import PhaseCounts
from .versions import digest

#: The values of ``phase`` in the address, each with its label and the phases that it means.
PHASE_FILTERS = {
    "failed": (_("Failed"), (Phase.FAILED,)),
    "running": (_("Running"), (Phase.RUNNING, Phase.RETRYING)),
    "pending": (_("Pending"), (Phase.PENDING,)),
    "succeeded": (_("Succeeded"), (Phase.SUCCEEDED, Phase.PARTIAL)),
    "canceled": (_("Canceled or skipped"), (Phase.CANCELED, Phase.SKIPPED)),
}


@dataclass(slots=True)
class ViewState:
    """The part of a tree that a user has asked for."""

    opened: set[UUID] = field(default_factory=set)
    closed: set[UUID] = field(default_factory=set)
    after: set[UUID] = field(default_factory=set)
    """Children behind which a page begins."""
    node: UUID | None = None
    """The node to which the path is opened."""
    phase: str = ""
    search: str = ""
    query: QueryDict = field(default_factory=QueryDict)

    @classmethod
    def of(cls, query: QueryDict) -> ViewState:
        """Return the view state in a query string; unknown values are ignored."""
        return cls(
            _uuids(query, "open"), _uuids(query, "close"), _uuids(query, "after"),
            node=next(iter(_uuids(query, "node")), None),
            phase=query.get("phase", "") if query.get("phase") in PHASE_FILTERS else "",
            search=query.get("q", "").strip()[:200], query=query,
        )  # fmt: skip

    @property
    def is_filter(self) -> bool:
        """True if only some nodes are wanted."""
        return bool(self.phase or self.search)

    def filter_query(self, phase: str | None = None) -> str:
        """Return the query string of the filter alone, with another phase if one is given."""
        values = {"phase": self.phase if phase is None else phase, "q": self.search}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def toggle_query(self, uuid: UUID, is_open: bool) -> str:
        """Return the query string with this node closed, if it is open, else opened."""
        query = self.query.copy()
        for name in ("open", "close"):
            query.setlist(name, [v for v in query.getlist(name) if v != str(uuid)])
        query.appendlist("close" if is_open else "open", str(uuid))
        query.pop("node", None)
        return "?" + query.urlencode()

    def page_query(self, siblings: list[TreeNode], after: UUID | None) -> str:
        """Return the query string with these siblings shown from behind ``after`` on."""
        query = self.query.copy()
        if given := query.getlist("after"):
            own = {str(node.uuid) for node in siblings}
            query.setlist("after", [v for v in given if v not in own])
        if after is not None:
            query.appendlist("after", str(after))
        query.pop("node", None)
        return "?" + query.urlencode()


def _uuids(query: QueryDict, name: str) -> set[UUID]:
    found = set()
    for text in query.getlist(name)[:200]:
        try:
            found.add(UUID(text))
        except ValueError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class FilterLink:
    """A link that narrows the tree to some phases."""

    label: str
    count: int
    query: str
    is_chosen: bool
    is_shown: bool
    """True if the link would find something, or is in use."""


def filter_context(view_state: ViewState, counts: PhaseCounts) -> dict[str, object]:
    """Return what ``_choices.html`` needs: the links, and their version."""
    query, is_all = view_state.filter_query(""), not view_state.phase
    links = [FilterLink(gettext("All"), counts.tasks(), query, is_all, is_shown=True)]
    for value, (label, phases) in PHASE_FILTERS.items():
        count, is_chosen = counts.tasks(phases), value == view_state.phase
        query = view_state.filter_query(value)
        links.append(FilterLink(str(label), count, query, is_chosen, bool(count or is_chosen)))
    return {"choices": links, "choices_version": digest([link.count for link in links])}
