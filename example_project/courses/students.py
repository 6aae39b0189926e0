"""The students of a course, made up; some of them have no email address."""

from typing import TypedDict

FIRST = ("Ada", "Benoit", "Chen", "Dina", "Emeka", "Fatima", "Grace", "Hugo", "Ines", "Jonas")
LAST = ("Lovelace", "Mandelbrot", "Ning", "Okafor", "Rossi", "Sato", "Tanaka", "Weber")

ENROLLED = 120
"""Students of each course."""

UNREACHABLE = 17
"""Each student whose number is a multiple of this one has no email address."""


class Student(TypedDict):
    """A student, as tasks get it."""

    name: str
    email: str


def make_students(count: int) -> list[Student]:
    """Return `count` students, the same ones each time."""
    students = []
    for at in range(count):
        name = f"{FIRST[at % len(FIRST)]} {LAST[at // len(FIRST) % len(LAST)]} {at + 1}"
        address = f"{name.lower().replace(' ', '.')}@example.com"
        students.append(Student(name=name, email=address if (at + 1) % UNREACHABLE else ""))
    return students
