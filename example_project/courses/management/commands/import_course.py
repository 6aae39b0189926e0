"""`manage.py import_course PATH [--watch]`."""

from courses.flows import import_course
from courses.management.base import SubmitCommand


class Command(SubmitCommand):
    """The command that imports a course."""

    help = "Submit the import of an OLX course; a worker must be running."
    make_workflow = staticmethod(import_course)
