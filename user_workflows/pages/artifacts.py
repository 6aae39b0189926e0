"""The artifacts of a workflow as its page shows them: grouped by the task that left them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypedDict
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Left, Length

from ..fields import ERROR_ARTIFACT
from ..models import UserTaskArtifact, UserTaskStatus
from ..reports.artifact_links import safe_link
from ..reports.paths import Paths
from .versions import digest

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Excerpt(TypedDict):
        excerpt: str
        length: int

    Artifact = WithAnnotations[UserTaskArtifact, _Excerpt]

#: Artifacts, and errors, that are shown; all are in the archive.
MAX_SHOWN = 50
#: Characters of a text that are read, and those that are shown unfolded.
EXCERPT, SHORT = 4000, 240


@dataclass(slots=True, eq=False)
class ArtifactItem:
    """One artifact."""

    uuid: UUID
    name: str
    text: str
    is_cut: bool
    is_error: bool
    link: str
    """An address that a browser may follow without harm; else empty."""
    file: str
    """The address of the file in the storage; empty if the storage has no addresses."""
    file_name: str
    size: int | None
    content_type: str

    @property
    def is_long(self) -> bool:
        """True if the text is folded."""
        return len(self.text) > SHORT or self.text.count("\n") > 4


@dataclass(slots=True, eq=False)
class ArtifactGroup:
    """The artifacts of one task."""

    uuid: UUID
    path: list[str]
    items: list[ArtifactItem]


@dataclass(slots=True, eq=False)
class ArtifactSection:
    """The section of the page with the artifacts of a workflow."""

    groups: list[ArtifactGroup]
    shown: int
    count: int
    errors: list[ArtifactGroup]
    shown_errors: int
    error_count: int

    @property
    def version(self) -> str:
        """A text that differs when the section has to be shown again."""
        groups = [
            (group.path, [(i.uuid, i.name, i.text, i.link, i.file_name) for i in group.items])
            for group in [*self.groups, *self.errors]
        ]
        return digest(self.count, self.error_count, groups)


def artifact_section(root: UserTaskStatus) -> ArtifactSection:
    """Return the first artifacts of a workflow in tree order, and the first errors."""
    found = root.subtree_artifacts()
    plain, plain_count = _first_artifacts(found.exclude(name=ERROR_ARTIFACT))
    errors, error_count = _first_artifacts(found.filter(name=ERROR_ARTIFACT))
    paths = Paths(root, [artifact.status for artifact in [*plain, *errors]])
    groups, error_groups = _grouped(plain, paths), _grouped(errors, paths)
    return ArtifactSection(groups, len(plain), plain_count, error_groups, len(errors), error_count)


def _first_artifacts(artifacts: QuerySet[UserTaskArtifact]) -> tuple[list[Artifact], int]:
    excerpts = artifacts.select_related("status").defer("text")
    excerpts = excerpts.annotate(excerpt=Left("text", EXCERPT), length=Length("text"))
    found = list(excerpts[: MAX_SHOWN + 1])
    return found[:MAX_SHOWN], len(found) if len(found) <= MAX_SHOWN else artifacts.count()


def _grouped(artifacts: Iterable[Artifact], paths: Paths) -> list[ArtifactGroup]:
    return [
        ArtifactGroup(node.uuid, paths.of(node) or [node.name], [_item(each) for each in found])
        for node, found in groupby(artifacts, key=lambda artifact: artifact.status)
    ]


def _item(artifact: Artifact) -> ArtifactItem:
    return ArtifactItem(
        uuid=artifact.uuid,
        name=artifact.name,
        text=artifact.excerpt,
        is_cut=artifact.length > EXCERPT,
        is_error=artifact.name == ERROR_ARTIFACT,
        link=safe_link(artifact.url),
        file=_file_url(artifact),
        file_name=(artifact.file.name or "").rpartition("/")[2] if artifact.file else "",
        size=artifact.size,
        content_type=artifact.content_type,
    )


def _file_url(artifact: UserTaskArtifact) -> str:
    try:
        return artifact.file.url if artifact.file else ""
    except (NotImplementedError, ValueError):
        return ""  # A storage that cannot be reached from a browser; the archive has the file.
