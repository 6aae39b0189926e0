"""The students of a course: a made-up roll, in which some addresses are no good."""

from typing import TypedDict

FIRST = ("Ada", "Benoit", "Chen", "Dina", "Emeka", "Fatima", "Grace", "Hugo", "Ines", "Jonas")
LAST = ("Lovelace", "Mandelbrot", "Ning", "Okafor", "Rossi", "Sato", "Tanaka", "Weber")


ENROLLED = 120
"""How many a course has."""


class Student(TypedDict):
    """Whom to write to."""

    name: str
    email: str


def roll(size: int) -> list[Student]:
    """The students of a course with so many; each 17th has left no usable address."""
    students = []
    for at in range(size):
        name = f"{FIRST[at % len(FIRST)]} {LAST[at // len(FIRST) % len(LAST)]} {at + 1}"
        address = f"{name.lower().replace(' ', '.')}@example.com"
        students.append(Student(name=name, email="" if at % 17 == 16 else address))
    return students
