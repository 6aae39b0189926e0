"""Open Learning XML (OLX), the file format in which Open edX courses are written and exchanged.

    course = read_course("night_sky.tar.gz-unpacked/")
    course.tree.check()               # raises CourseError, which says where the faults are
    unpack("upload.tar.gz", target)   # safe for untrusted archives

Nothing here imports Django or Celery; `courses.tasks` calls it.
"""

from .archive import Limits, unpack
from .model import Block, Course, CourseError
from .packing import Part, archive_name, assemble, pack_chapter, stage, verify
from .reader import find_root, read_chapter, read_course, read_outline

__all__ = [
    "Block",
    "Course",
    "CourseError",
    "Limits",
    "Part",
    "archive_name",
    "assemble",
    "find_root",
    "pack_chapter",
    "read_chapter",
    "read_course",
    "read_outline",
    "stage",
    "unpack",
    "verify",
]
