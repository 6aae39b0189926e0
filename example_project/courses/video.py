"""A video codec small enough for an example: raw grey frames in, an animated PNG out.

The format: https://wiki.mozilla.org/APNG_Specification. Browsers show it as they show any image.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

WIDTH, HEIGHT = 192, 108
FRAMES_A_SECOND = 12
CLIPS = {
    "A tour of the Moon": 20 * FRAMES_A_SECOND,
    "Meteors in August": 45 * FRAMES_A_SECOND,
    "One night, dusk to dawn": 90 * FRAMES_A_SECOND,
}
"""The recordings that can be transcoded: frames by title."""
_STARS = [(x * 73 % WIDTH, x * 41 % HEIGHT, x % 7) for x in range(90)]


def raw_frame(number: int) -> bytes:
    """Return a frame of the night sky, one byte for each pixel, row by row."""
    pixels = bytearray(WIDTH * HEIGHT)
    for x, y, rhythm in _STARS:
        light = 150 + int(105 * math.sin(number / 4 + rhythm))
        pixels[y * WIDTH + (x + number) % WIDTH] = max(0, min(255, light))
    return bytes(pixels)


class AnimatedPNG:
    """A writer of frames to a file; the number of frames must be known in advance."""

    def __init__(self, file: BinaryIO, frames: int) -> None:
        self._file, self._sequence = file, 0
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0))
        self._chunk(b"acTL", struct.pack(">II", frames, 0))

    def add(self, pixels: bytes) -> None:
        """Append a frame."""
        first = self._sequence == 0
        control = struct.pack(
            ">IIIIIHHBB", self._next(), WIDTH, HEIGHT, 0, 0, 1, FRAMES_A_SECOND, 0, 0
        )
        self._chunk(b"fcTL", control)
        data = zlib.compress(b"".join(b"\0" + row for row in _rows(pixels)), 9)
        if first:
            self._chunk(b"IDAT", data)
        else:
            self._chunk(b"fdAT", struct.pack(">I", self._next()) + data)

    def close(self) -> None:
        """Write the end of the file."""
        self._chunk(b"IEND", b"")

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _chunk(self, kind: bytes, data: bytes) -> None:
        checksum = zlib.crc32(kind + data)
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))


def _rows(pixels: bytes) -> Iterator[bytes]:
    for start in range(0, len(pixels), WIDTH):
        yield pixels[start : start + WIDTH]
