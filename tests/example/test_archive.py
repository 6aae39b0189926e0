"""Unpacking harmful archives, and packing."""

import gzip
import io
import tarfile

import pytest

from courses.olx import CourseError, Limits, unpack
from courses.olx.archive import MEGABYTE, Packer


def member(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def archive_of(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content if info.isreg() else None)
    return path


@pytest.fixture
def refusal(tmp_path):
    """Unpack and return the error's message; no file may be left, in the target or outside."""

    def refusal(*members, limits=None):
        archive = archive_of(tmp_path / "course.tar.gz", *members)
        with pytest.raises(CourseError) as caught:
            unpack(archive, tmp_path / "deep" / "target", limits)
        assert list((tmp_path / "deep").iterdir()) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["course.tar.gz", "deep"]
        return str(caught.value)

    return refusal


@pytest.mark.parametrize(
    "name",
    ["../evil", "course/../../evil", "/tmp/evil", "course/..", "..\\evil", "course\\..\\evil"],
)
def test_path_outside_of_the_archive_is_refused(refusal, name):
    message = refusal(member("course/course.xml", b"<course/>"), member(name, b"x"))
    assert message == f"The archive is unsafe: '{name}' points outside of it"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "course.xml"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(refusal, kind, target):
    message = refusal(member("course/link", type=kind, linkname=target))
    assert message == f"The archive is unsafe: 'course/link' is a link, to '{target}'"


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_devices_pipes_and_sparse_files_are_refused(refusal, kind):
    message = refusal(member("course/dev", type=kind, devmajor=1, devminor=3))
    assert message == "The archive is unsafe: 'course/dev' is neither a file nor a folder"


def test_too_many_files_are_refused(refusal):
    members = [member(f"course/{n}") for n in range(4)]
    assert refusal(*members, limits=Limits(files=3)) == "The archive holds more than 3 files"


def test_file_over_the_limit_is_refused(refusal):
    content = bytes(3 * MEGABYTE)
    message = refusal(member("course/big", content), limits=Limits(single=MEGABYTE))
    assert message == "'course/big' in the archive has 3 MB; the limit is 1 MB"


def test_total_size_over_the_limit_is_refused(refusal):
    members = [member(f"course/{n}", bytes(MEGABYTE)) for n in range(3)]
    message = refusal(*members, limits=Limits(total=2 * MEGABYTE))
    assert message == "The archive unpacks to more than 2 MB"


def test_stream_longer_than_its_headers_say_is_refused(tmp_path):
    """The archive has 64 MB of zeros where members are expected."""
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info, content = member("course/course.xml", b"<course/>")
        tar.addfile(info, content)
    data = gzip.decompress(archive.read_bytes())[:1024]
    huge = tarfile.TarInfo("course/huge")
    huge.size = 64 * MEGABYTE
    archive.write_bytes(gzip.compress(data + huge.tobuf() + bytes(64 * MEGABYTE)))
    limits = Limits(files=10, total=2 * MEGABYTE, single=100 * MEGABYTE)
    with pytest.raises(CourseError, match="unpacks to more than 2 MB"):
        unpack(archive, tmp_path / "target", limits)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_oversized_header_is_refused_unread(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 * MEGABYTE
    archive = tmp_path / "header.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf() + bytes(64 * MEGABYTE)))
    with pytest.raises(CourseError, match="it has an oversized header"):
        unpack(archive, tmp_path / "target")


def test_name_that_occurs_twice_is_refused(refusal):
    twice = [member("course/course.xml", b"1"), member("course/course.xml", b"2")]
    assert refusal(*twice) == "The archive holds 'course/course.xml' twice"
    below = [member("course/a", b"1"), member("course/a/b", b"2")]
    assert refusal(*below) == "The archive holds 'course/a/b' twice"


def test_name_too_long_for_the_disk_is_refused(refusal):
    assert "cannot be unpacked: File name too long" in refusal(member("x" * 300, b"1"))


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"not a tar" * 99, mtime=0)],
    ids=["empty", "text", "compressed text"],
)
def test_file_that_is_no_archive_is_refused(tmp_path, content):
    archive = tmp_path / "course.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(CourseError) as caught:
        unpack(archive, tmp_path / "target")
    assert str(caught.value) == "'course.tar.gz' is not a .tar.gz archive, or is damaged"


def test_truncated_archive_is_refused(tmp_path):
    archive = archive_of(tmp_path / "course.tar.gz", member("course/a", bytes(range(256)) * 999))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(CourseError, match=r"is not a \.tar\.gz archive, or is damaged"):
        unpack(archive, tmp_path / "target")


def test_missing_archive_is_refused(tmp_path):
    with pytest.raises(CourseError, match=r"'gone.tar.gz' cannot be read: No such file"):
        unpack(tmp_path / "gone.tar.gz", tmp_path / "target")


def test_harmless_archives_are_unpacked(tmp_path):
    folder = member("./course", type=tarfile.DIRTYPE)
    long_name = "course/" + "n" * 150 + "/ü.html"
    archive = archive_of(
        tmp_path / "a.tar.gz", folder, member("./course/course.xml", b"1"), member(long_name, b"2")
    )
    unpack(archive, tmp_path / "target")
    assert (tmp_path / "target" / "course" / "course.xml").read_bytes() == b"1"
    assert (tmp_path / "target" / long_name).read_bytes() == b"2"


def test_unpack_with_suffix_writes_some_files_and_checks_all(tmp_path):
    wanted = "course/chapter/a.xml", b"1"
    other = member("course/static/big", b"2")
    archive = archive_of(tmp_path / "a.tar.gz", member(*wanted), other)
    unpack(archive, tmp_path / "target", suffix=".xml")
    files = [path.name for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert files == ["a.xml"]
    archive = archive_of(tmp_path / "b.tar.gz", member(*wanted), member("../static/evil", b"3"))
    with pytest.raises(CourseError, match="unsafe"):
        unpack(archive, tmp_path / "other", suffix=".xml")


def test_packer_is_reproducible_and_leaves_nothing_on_failure(tmp_path):
    (tmp_path / "a").write_text("a")
    for name in ("1.tar.gz", "2.tar.gz"):
        with Packer(tmp_path / name) as packer:
            packer.add_files(tmp_path, ["a", "a"])
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
    with pytest.raises(FileNotFoundError), Packer(tmp_path / "3.tar.gz") as packer:
        packer.add_files(tmp_path, ["a", "gone"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.tar.gz", "2.tar.gz", "a"]
