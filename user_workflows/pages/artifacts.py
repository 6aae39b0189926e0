"""The artifacts of a workflow as the page shows them: grouped by the task that left them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models.functions import Left, Length

from ..fields import ERROR_ARTIFACT
from ..models import UserTaskArtifact, UserTaskStatus
from ..reports.artifact_links import safe_link
from ..reports.paths import Paths
from .tree_rows import digest

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
    """Where the storage has the file; empty if it has no addresses."""
    file_name: str
    size: int | None
    content_type: str

    @property
    def is_long(self) -> bool:
        """Whether its text is folded."""
        return len(self.text) > SHORT or self.text.count("\n") > 4


@dataclass(slots=True, eq=False)
class ArtifactGroup:
    """What one task has left."""

    uuid: UUID
    path: list[str]
    items: list[ArtifactItem] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ArtifactSection:
    """All that a page shows of a workflow's artifacts."""

    groups: list[ArtifactGroup]
    count: int
    errors: list[ArtifactGroup]
    error_count: int

    @property
    def shown(self) -> int:
        """How many artifacts are shown."""
        return sum(len(group.items) for group in self.groups)

    @property
    def shown_errors(self) -> int:
        """How many errors are shown."""
        return sum(len(group.items) for group in self.errors)

    @property
    def version(self) -> str:
        """Differs when the shelf has to be shown anew."""
        return digest(
            (
                self.count,
                self.error_count,
                [
                    (
                        group.path,
                        [(i.uuid, i.name, i.text, i.link, i.file_name) for i in group.items],
                    )
                    for group in [*self.groups, *self.errors]
                ],
            )
        )


def artifact_section(root: UserTaskStatus) -> ArtifactSection:
    """The first artifacts of a workflow in tree order, and the first errors."""
    found = root.subtree_artifacts()
    plain, plain_count = _first_artifacts(found.exclude(name=ERROR_ARTIFACT))
    errors, error_count = _first_artifacts(found.filter(name=ERROR_ARTIFACT))
    paths = Paths(root, [artifact.status for artifact in [*plain, *errors]])
    return ArtifactSection(
        _grouped(plain, paths), plain_count, _grouped(errors, paths), error_count
    )


def _first_artifacts(artifacts: Any) -> tuple[list[Any], int]:
    shown = artifacts.select_related("status").defer("text")
    shown = shown.annotate(excerpt=Left("text", EXCERPT), length=Length("text"))
    found = list(shown[: MAX_SHOWN + 1])
    return found[:MAX_SHOWN], len(found) if len(found) <= MAX_SHOWN else artifacts.count()


def _grouped(artifacts: list[Any], paths: Paths) -> list[ArtifactGroup]:
    groups: list[ArtifactGroup] = []
    for artifact in artifacts:
        if not groups or groups[-1].uuid != artifact.status.uuid:
            path = paths.of(artifact.status) or [artifact.status.name]
            groups.append(ArtifactGroup(artifact.status.uuid, path))
        groups[-1].items.append(_item(artifact))
    return groups


def _item(artifact: UserTaskArtifact) -> ArtifactItem:
    return ArtifactItem(
        uuid=artifact.uuid,
        name=artifact.name,
        text=artifact.excerpt,  # type: ignore[attr-defined]
        is_cut=artifact.length > EXCERPT,  # type: ignore[attr-defined]
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
