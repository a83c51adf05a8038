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

import numpy as np

from pipeline.data.jpeg_head import (
    BASELINE,
    EXTENDED,
    FRAME_HEAD,
    FRAMES,
    HUFFMAN_TABLES,
    QUANTIZATION_TABLES,
    RESTART_INTERVAL,
    SCAN,
    Head,
)

START, LAST, FILL, END = b"\xff\xd8", b"\xff\xd9", 0xFF, 0xD9
APPLICATION_1 = 0xE1  # EXIF or XMP, which may say that the picture is turned
SEQUENTIAL = {BASELINE, EXTENDED}
APPLICATION_2, SEVERAL_PICTURES = 0xE2, b"MPF"  # the segment of a file that holds more pictures behind the first
NEEDED = {HUFFMAN_TABLES, QUANTIZATION_TABLES, SCAN}
AFTER_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker behind compressed pixels, in which 255 is followed by 0 or is a restart marker."""
LEAST_SAVED = 16  # rows that are worth the copy; blocks are 8 or 16 rows high
READ_AHEAD = 64  # bytes
SCAN_HEAD = 10  # bytes at least: marker, length, number of colours, a colour, three numbers


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


def first_rows(data: bytes, rows: int) -> np.ndarray:
    """A JPEG file that is known to be sound -> one of its first rows alone, or of all where that is not simple.

    A decoder's time goes with the rows. It takes their number from the file's head and stops behind them. What follows
    is of no use to it, but an end marker there would be a sign of damage: zeros stand in its place, and some more, as a
    decoder reads a few bytes ahead. Files with restart markers, several scans or several pictures have other markers as
    well, and stay as they are. Where pixels end early, which decoders fill up, rows behind these cannot be had.

    Args:
        rows: a decoder that interpolates colour may give other pixels than those of the whole file in the last two.

    Returns:
        uint8 [n], the file.
    """
    file, frame = np.frombuffer(data, np.uint8), _simple_frame(data)
    if frame is None or rows + LEAST_SAVED > FRAME_HEAD.unpack_from(data, frame + 4)[1]:
        return file
    end = len(file) - len(LAST)
    shorter = np.empty(end + READ_AHEAD, np.uint8)
    shorter[:end], shorter[end:] = file[:end], 0
    shorter[frame + 5 : frame + 7] = rows >> 8, rows & 255
    return shorter


def _simple_frame(data: bytes) -> int | None:
    """Where the frame's marker is, or None unless one sequential scan without restarts is all that the file holds."""
    place, frame = len(START), -1
    while place + SCAN_HEAD <= len(data) and data[place] == FILL:
        marker, several = data[place + 1], data[place + 4 : place + 7] == SEVERAL_PICTURES
        if marker == SCAN:
            whole = frame > 0 and data[place + 4] == data[frame + 9] and data.endswith(LAST)  # all colours in one scan
            return frame if whole else None
        if marker in FRAMES - SEQUENTIAL or marker == RESTART_INTERVAL or (marker == APPLICATION_2 and several):
            return None
        frame = place if marker in SEQUENTIAL else frame
        place += 1 if marker == FILL else 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


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
