"""Parsing XML files that are not trusted."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.parsers import expat

from .model import CourseError

MAX_BYTES = 20 * 1024 * 1024
MAX_DEPTH = 200


def parse(path: Path) -> ET.Element:
    """Parse the XML file at `path` and return its root element.

    Document type declarations, and so all entities, are refused: OLX does not use them, and the
    known attacks by XML ("billion laughs", reading the server's files) need them.

    Raises:
        CourseError: The file is too large, too deep, or not valid; the message lacks its name.
    """
    if path.stat().st_size > MAX_BYTES:
        raise CourseError(f"is larger than {MAX_BYTES // 2**20} MB")
    builder = ET.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise CourseError(f"has elements nested more than {MAX_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(path.read_bytes(), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise CourseError(f"is not valid XML: {_explain(error)}") from None
    return builder.close()


def _refuse_doctype(*_: Any) -> None:
    raise CourseError("has a <!DOCTYPE>, which a course must not use")


def _explain(error: Exception) -> str:
    """Return where and why parsing failed: `line 3, column 14: mismatched tag`."""
    if isinstance(error, expat.ExpatError):
        return f"line {error.lineno}, column {error.offset + 1}: {expat.ErrorString(error.code)}"
    return str(error)
