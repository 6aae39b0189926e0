"""`manage.py export_course PATH [--watch]`."""

from courses.flows import export_course
from courses.management.base import SubmitCommand


class Command(SubmitCommand):
    """The command that exports a course."""

    help = "Submit the export of an OLX course; a worker must be running."
    make_workflow = staticmethod(export_course)
