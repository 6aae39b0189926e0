"""The mailing, a group whose members may fail, and the transcoding, one task of many steps."""

import struct
import zlib

import pytest
from celery import current_app
from django.apps import apps
from django.core import mail

from user_workflows.phases import Phase

if not apps.is_installed("courses"):
    pytest.skip("the site's courses app is not in INSTALLED_APPS", allow_module_level=True)

from courses import video
from courses.accounts import demo_user
from courses.flows import mail_students, transcode_video
from courses.models import Course
from courses.students import make_students

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings, tmp_path):
    settings.EXAMPLE_VAR = tmp_path / "var"
    settings.EXAMPLE_PACE = 0
    settings.MEDIA_ROOT = tmp_path / "media"
    eager = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = eager


def test_mailing_with_unreachable_students_sends_the_other_letters():
    course = Course(key="course-v1:X+SKY+1", title="Watching the Night Sky")
    root = mail_students(course, "Clear skies!", make_students(36), demo_user()).delay()
    tree = root.tree()

    assert tree.phase is Phase.PARTIAL
    assert (root.action, root.subject) == ("course.mail", course.key)
    assert len(mail.outbox) == 34
    letter = mail.outbox[0]
    assert letter.subject == "News of Watching the Night Sky"
    assert letter.body == "Dear Ada Lovelace 1,\n\nClear skies!\n"
    failed = [leaf for leaf in tree.leaves() if leaf.phase is Phase.FAILED]
    assert len(failed) == 2 and all(leaf.allow_failure for leaf in failed)
    report = root.subtree_artifacts("Mailing report").get().text.splitlines()
    assert report[0] == "34 of 36 letters sent."
    assert report[1:] == [leaf.name for leaf in failed]


def chunks(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        found.append((kind, body))
        at += 12 + size
    return found


def test_transcoding_is_one_task_with_a_step_for_each_frame():
    root = transcode_video("A night in May", 30, demo_user()).delay()
    root.refresh_from_db()

    assert (root.phase, root.completed_steps, root.total_steps) == (Phase.SUCCEEDED, 30, 30)
    artifact = root.subtree_artifacts("Video").get()
    assert artifact.content_type == "image/png"
    found = chunks(artifact.file.read())
    kinds = [kind for kind, _ in found]
    assert kinds[:2] == [b"IHDR", b"acTL"] and kinds[-1] == b"IEND"
    assert struct.unpack(">II", found[1][1]) == (30, 0)
    assert kinds.count(b"fcTL") == 30 and kinds.count(b"IDAT") == 1 and kinds.count(b"fdAT") == 29
    numbers = [body[:4] for kind, body in found if kind in (b"fcTL", b"fdAT")]
    assert [struct.unpack(">I", number)[0] for number in numbers] == list(range(59))
    pixels = zlib.decompress(found[3][1])
    rows = [pixels[y * (video.WIDTH + 1) + 1 :][: video.WIDTH] for y in range(video.HEIGHT)]
    assert b"".join(rows) == video.raw_frame(0)
