"""Whether a JPEG file is whole, and its size, from its markers alone: decoding it would take thirty times as long.

A JPEG that was cut off lacks its end marker. That is all a decoder would find as well: damage inside the compressed
pixels makes both libjpeg and Pillow go on without an error. What is unusual here (arithmetic coding, 12 bits, four
components) is left to the decoder to judge. Markers and segments: ITU-T T.81 (1992), annex B.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

START, FILL = b"\xff\xd8", 0xFF
USUAL_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: all with Huffman coding
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # without DHT, JPG, DAC, which share the range
HUFFMAN_TABLES, QUANTIZATION_TABLES, SCAN, END = 0xC4, 0xDB, 0xDA, 0xD9
APPLICATION_1 = 0xE1  # EXIF or XMP, which may say that the picture is turned
UNUSUAL = {0x00, 0x01, 0xCC, *range(0xD0, 0xD9)}  # no marker, or one without a length; arithmetic coding
NEEDED = {HUFFMAN_TABLES, QUANTIZATION_TABLES, SCAN}
AFTER_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker behind compressed pixels, in which 255 is followed by 0 or is a restart marker."""
FRAME_HEAD = struct.Struct(">BHHB")
LARGEST = 2**27  # pixels; a decoder may refuse more


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
    found = Jpeg()
    if not data.startswith(START):
        return None
    try:
        usable = _read_markers(data, found)
    except (IndexError, struct.error):  # the file ends within its head
        return None
    return found if usable and found.markers >= NEEDED and found.channels and found.width * found.height else None


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


def _read_markers(data: bytes, found: Jpeg) -> bool:
    """Goes from marker to marker up to the end marker; false where one is not as usual."""
    place = len(START)
    while True:
        if data[place] != FILL:
            return False
        while data[place + 1] == FILL:
            place += 1
        marker = data[place + 1]
        if marker == END:
            return True
        if marker in UNUSUAL or (marker in FRAMES and not _read_frame(data, place, found)):
            return False
        found.markers.add(marker)
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if marker == SCAN:
            after = AFTER_PIXELS.search(data, place)
            if after is None:
                return False
            place = after.start()


def _read_frame(data: bytes, place: int, found: Jpeg) -> bool:
    bits, found.height, found.width, found.channels = FRAME_HEAD.unpack_from(data, place + 4)
    usual = data[place + 1] in USUAL_FRAMES and bits == 8 and found.channels in (1, 3)
    return usual and found.height * found.width <= LARGEST
