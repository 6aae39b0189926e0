"""Unpacking archives that mean harm."""

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
def refused(tmp_path):
    """Unpacks, and returns what was said; nothing may be left, inside or outside the target."""

    def refused(*members, limits=None):
        archive = archive_of(tmp_path / "course.tar.gz", *members)
        with pytest.raises(CourseError) as caught:
            unpack(archive, tmp_path / "deep" / "target", limits)
        assert list((tmp_path / "deep").iterdir()) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["course.tar.gz", "deep"]
        return str(caught.value)

    return refused


@pytest.mark.parametrize(
    "name",
    ["../evil", "course/../../evil", "/tmp/evil", "course/..", "..\\evil", "course\\..\\evil"],
)
def test_a_path_that_leads_out_is_refused(refused, name):
    said = refused(member("course/course.xml", b"<course/>"), member(name, b"x"))
    assert said == f"The archive is unsafe: '{name}' points outside of it"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "course.xml"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(refused, kind, target):
    said = refused(member("course/link", type=kind, linkname=target))
    assert said == f"The archive is unsafe: 'course/link' is a link, to '{target}'"


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_devices_pipes_and_sparse_files_are_refused(refused, kind):
    # A whole block of zeros: what a sparse file's header needs behind it.
    said = refused(member("course/dev", type=kind, devmajor=1, devminor=3))
    assert said == "The archive is unsafe: 'course/dev' is neither a file nor a folder"


def test_too_many_files(refused):
    members = [member(f"course/{n}") for n in range(4)]
    assert refused(*members, limits=Limits(files=3)) == "The archive holds more than 3 files"


def test_too_large_a_file(refused):
    content = bytes(3 * MEGABYTE)
    said = refused(member("course/big", content), limits=Limits(single=MEGABYTE))
    assert said == "'course/big' in the archive has 3 MB; the limit is 1 MB"


def test_too_much_in_all(refused):
    members = [member(f"course/{n}", bytes(MEGABYTE)) for n in range(3)]
    said = refused(*members, limits=Limits(total=2 * MEGABYTE))
    assert said == "The archive unpacks to more than 2 MB"


def test_a_stream_that_never_ends_is_left(tmp_path):
    """Behind the headers' backs: 64 MB of zeros where members are expected."""
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
def test_a_header_is_not_read_into_memory_whatever_it_claims(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 * MEGABYTE
    archive = tmp_path / "header.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf() + bytes(64 * MEGABYTE)))
    with pytest.raises(CourseError, match="it has an oversized header"):
        unpack(archive, tmp_path / "target")


def test_a_name_that_comes_twice(refused):
    twice = [member("course/course.xml", b"1"), member("course/course.xml", b"2")]
    assert refused(*twice) == "The archive holds 'course/course.xml' twice"
    below = [member("course/a", b"1"), member("course/a/b", b"2")]
    assert refused(*below) == "The archive holds 'course/a/b' twice"


def test_a_name_too_long_for_the_disk(refused):
    assert "cannot be unpacked: File name too long" in refused(member("x" * 300, b"1"))


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"not a tar" * 99, mtime=0)],
    ids=["empty", "text", "compressed text"],
)
def test_what_is_no_archive(tmp_path, content):
    archive = tmp_path / "course.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(CourseError) as caught:
        unpack(archive, tmp_path / "target")
    assert str(caught.value) == "'course.tar.gz' is not a .tar.gz archive, or is damaged"


def test_a_truncated_archive(tmp_path):
    archive = archive_of(tmp_path / "course.tar.gz", member("course/a", bytes(range(256)) * 999))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(CourseError, match=r"is not a \.tar\.gz archive, or is damaged"):
        unpack(archive, tmp_path / "target")


def test_an_archive_that_is_not_there(tmp_path):
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


def test_only_files_of_a_kind_are_unpacked_but_all_are_checked(tmp_path):
    wanted = "course/chapter/a.xml", b"1"
    other = member("course/static/big", b"2")
    archive = archive_of(tmp_path / "a.tar.gz", member(*wanted), other)
    unpack(archive, tmp_path / "target", suffix=".xml")
    files = [path.name for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert files == ["a.xml"]
    archive = archive_of(tmp_path / "b.tar.gz", member(*wanted), member("../static/evil", b"3"))
    with pytest.raises(CourseError, match="unsafe"):
        unpack(archive, tmp_path / "other", suffix=".xml")


def test_the_same_files_give_the_same_bytes_and_none_if_packing_fails(tmp_path):
    (tmp_path / "a").write_text("a")
    for name in ("1.tar.gz", "2.tar.gz"):
        with Packer(tmp_path / name) as packer:
            packer.add_files(tmp_path, ["a", "a"])
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
    with pytest.raises(FileNotFoundError), Packer(tmp_path / "3.tar.gz") as packer:
        packer.add_files(tmp_path, ["a", "gone"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.tar.gz", "2.tar.gz", "a"]
