"""Artifacts in a storage that is no folder: big files, signed addresses, errors of its own."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import File
from django.core.files.storage import Storage

from tests.rest.conftest import part, url
from user_workflows.models import UserTaskArtifact

MEGABYTE = 1 << 20


class Big(io.RawIOBase):
    """So many bytes that nobody ever holds; like an upload it can be read only once."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.most = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "all of it was asked for at once"
        self.most = max(self.most, size)
        taken = min(size, self.left)
        self.left -= taken
        return bytes(taken)


class Bucket(Storage):
    """Like S3: objects by key, no paths, addresses that are signed for a while."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.pieces: list[int] = []

    def _save(self, name: str, content: Any) -> str:
        self.pieces = [len(chunk) for chunk in content.chunks()]
        self.sizes[name] = sum(self.pieces)
        return name

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if name not in self.sizes:
            raise BucketError(name)
        return File(Big(self.sizes[name]), name=name)

    def exists(self, name: str) -> bool:
        return name in self.sizes

    def delete(self, name: str) -> None:
        del self.sizes[name]

    def url(self, name: str | None) -> str:
        return f"https://bucket.example.com/{name}?signature=abc&expires=60"


class BucketError(Exception):
    """What libraries of such storages raise; no OSError."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket()
    field: Any = UserTaskArtifact._meta.get_field("file")
    monkeypatch.setattr(field, "storage", made)
    return made


def upload(node: Any, size: int, name: str = "big.bin") -> UserTaskArtifact:
    source = Big(size)
    file: Any = File(source, name=name)
    file.size = size
    artifact: UserTaskArtifact = node.add_artifact("Big", file=file)
    assert source.left == 0
    return artifact


def test_a_large_file_is_passed_to_the_storage_in_chunks(bucket: Bucket, root: Any) -> None:
    artifact = upload(part(root, "render 1"), 20 * MEGABYTE)
    assert artifact.size == 20 * MEGABYTE == bucket.sizes[str(artifact.file.name)]
    assert max(bucket.pieces) <= 64 * 1024


def test_the_file_of_an_artifact_is_the_signed_url_of_the_storage(
    bucket: Bucket, root: Any, people: Any, client_of: Any
) -> None:
    artifact = upload(part(root, "render 1"), 1)
    for address in (url(root, "artifacts"), f"/api/artifacts/{artifact.uuid}/"):
        answer = client_of(people.owner).get(address).json()
        row = answer[0] if isinstance(answer, list) else answer
        assert row["file"] == bucket.url(artifact.file.name)


def test_deleting_a_workflow_deletes_its_files_from_the_storage(
    bucket: Bucket, root: Any, django_capture_on_commit_callbacks: Any
) -> None:
    upload(part(root, "render 1"), 1)
    with django_capture_on_commit_callbacks(execute=True):
        root.delete()
    assert bucket.sizes == {}


def test_the_memory_of_an_archive_does_not_grow_with_its_files(
    bucket: Bucket, root: Any, people: Any, client_of: Any
) -> None:
    """64 MB pass through, and of the process's memory not even four are taken."""
    sizes = [32 * MEGABYTE, 31 * MEGABYTE, MEGABYTE]
    for size in sizes:
        upload(part(root, "render 1"), size)
    answer = client_of(people.owner).get(url(root, "archive"))
    chunks: Iterator[bytes] = iter(answer.streaming_content)
    sent = io.BytesIO()  # Zeros are small when packed.
    tracemalloc.start()
    try:
        for chunk in chunks:
            sent.write(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEGABYTE
    with zipfile.ZipFile(sent) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert [archive.getinfo(row["file"]).file_size for row in manifest] == sizes


def test_the_manifest_marks_files_that_the_storage_has_lost(
    bucket: Bucket, root: Any, people: Any, client_of: Any
) -> None:
    lost = upload(part(root, "render 1"), 1)
    upload(part(root, "render 1"), 5)
    del bucket.sizes[str(lost.file.name)]
    answer = client_of(people.owner).get(url(root, "archive"))
    with zipfile.ZipFile(io.BytesIO(answer.getvalue())) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert [row.get("missing") for row in manifest] == [True, None]
        assert archive.getinfo(manifest[1]["file"]).file_size == 5


def test_an_archive_is_closed_when_its_reader_disconnects(
    bucket: Bucket, root: Any, people: Any, client_of: Any
) -> None:
    upload(part(root, "render 1"), 8 * MEGABYTE)
    answer = client_of(people.owner).get(url(root, "archive"))
    chunks = iter(answer.streaming_content)
    next(chunks)
    answer.close()
