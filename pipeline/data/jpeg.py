"""Whether a JPEG file is whole, and its size, from its markers alone: decoding it would take thirty times as long.

A JPEG that was cut off lacks its end marker, and one with damaged tables has a head that contradicts itself. That is
all a decoder would find as well: damage inside the compressed pixels makes both libjpeg and Pillow go on without an
error. What is unusual here (arithmetic coding, 12 bits, four components, tables that are not there) is left to the
decoder to judge. Markers and segments: ITU-T T.81 (1992), annex B.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from pipeline.data.jpeg_head import FRAME_HEAD, FRAMES, HUFFMAN_TABLES, QUANTIZATION_TABLES, SCAN, Head

START, FILL, END = b"\xff\xd8", 0xFF, 0xD9
APPLICATION_1 = 0xE1  # EXIF or XMP, which may say that the picture is turned
NEEDED = {HUFFMAN_TABLES, QUANTIZATION_TABLES, SCAN}
AFTER_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker behind compressed pixels, in which 255 is followed by 0 or is a restart marker."""


@dataclass
class Jpeg:
    """What a whole JPEG file says of itself.

    Args:
        height, width: in pixels, as they lie in the file.
        channels: 1 or 3.
        markers: all that occur in the first picture of the file.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    markers: set[int] = field(default_factory=set)

    @property
    def may_be_turned(self) -> bool:
        """Whether metadata may hold an orientation."""
        return APPLICATION_1 in self.markers


def whole_jpeg(data: bytes) -> Jpeg | None:
    """What a file says of itself, or None where only a decoder can say whether it is usable."""
    if not data.startswith(START):
        return None
    try:
        found = _read_markers(data)
    except (IndexError, struct.error):  # the file ends within its head
        return None
    return found if found and found.markers >= NEEDED and found.width * found.height else None


def frame_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of a JPEG file that is known to be sound.

    Raises:
        IndexError, struct.error: it is not.
    """
    place = len(START)
    while data[place + 1] not in FRAMES:
        place += 1 if data[place + 1] == FILL else 2 + int.from_bytes(data[place + 2 : place + 4])
    _, height, width, _ = FRAME_HEAD.unpack_from(data, place + 4)
    return height, width


def _read_markers(data: bytes) -> Jpeg | None:
    """Goes from marker to marker up to the end marker; None where one is not as usual."""
    place, head, markers = len(START), Head(), set[int]()
    while True:
        if data[place] != FILL:
            return None
        while data[place + 1] == FILL:
            place += 1
        marker = data[place + 1]
        if marker == END:
            return Jpeg(head.height, head.width, head.channels, markers)
        markers.add(marker)
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if end < place + 4 or not head.takes(marker, data[place + 4 : end]):
            return None
        place = end
        if marker == SCAN:
            after = AFTER_PIXELS.search(data, place)
            if after is None:
                return None
            place = after.start()
