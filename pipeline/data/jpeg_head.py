"""What the segments of a JPEG's head define, and whether a decoder can work with it: tables, components, scans.

libjpeg ends with an error where a scan needs a table that is not there, or where a table or a sampling factor makes no
sense; so do TensorFlow, OpenCV and Pillow, which all use it. Segments: ITU-T T.81 (1992), annex B.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
USUAL_FRAMES = {BASELINE, EXTENDED, PROGRESSIVE}  # all with Huffman coding
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # without DHT, JPG, DAC, which share the range
HUFFMAN_TABLES, QUANTIZATION_TABLES, RESTART_INTERVAL, SCAN = 0xC4, 0xDB, 0xDD, 0xDA
NUMBER_OF_LINES, COMMENT, APPLICATIONS = 0xDC, 0xFE, range(0xE0, 0xF0)
WITHOUT_TABLES = {NUMBER_OF_LINES, COMMENT, *APPLICATIONS}
FRAME_HEAD = struct.Struct(">BHHB")
LARGEST = 2**27  # pixels; a decoder may refuse more

DIFFERENCES, COEFFICIENTS = 0, 1  # the two classes of Huffman tables: DC and AC
PLACES = range(4)  # where tables of each kind can lie
MOST_SYMBOLS, LARGEST_DIFFERENCE = 256, 15
QUANTIZERS = 64  # of a table, in one or two bytes each
FACTORS = range(1, 5)  # of sampling
MOST_BLOCKS = 10  # of all components of a scan that belong together
LAST_COEFFICIENT, MOST_SHIFT = 63, 13


class Component(NamedTuple):
    """A colour component of the frame: sampling factors, and where its quantization table lies."""

    horizontal: int
    vertical: int
    quantization: int


class Head:
    """What has been defined so far.

    Args:
        height, width: of the frame, in pixels.
        channels: 1 or 3; 0 before the frame.
    """

    def __init__(self) -> None:
        self.height = self.width = self.channels = 0
        self._progressive = False
        self._components: dict[int, Component] = {}
        self._quantization: set[int] = set()
        self._huffman: set[tuple[int, int]] = set()

    def takes(self, marker: int, segment: bytes) -> bool:
        """Reads a segment, without its length; false where it is not as usual.

        Raises:
            IndexError, struct.error: it is too short.
        """
        if marker in FRAMES:
            return self._takes_frame(marker, segment)
        if marker == HUFFMAN_TABLES:
            return self._takes_huffman(segment)
        if marker == QUANTIZATION_TABLES:
            return self._takes_quantization(segment)
        if marker == SCAN:
            return self._takes_scan(segment)
        return marker in WITHOUT_TABLES or (marker == RESTART_INTERVAL and len(segment) == 2)

    def _takes_frame(self, marker: int, segment: bytes) -> bool:
        first = self.channels == 0
        bits, self.height, self.width, self.channels = FRAME_HEAD.unpack_from(segment)
        self._progressive = marker == PROGRESSIVE
        rows = segment[FRAME_HEAD.size :]
        usual = first and marker in USUAL_FRAMES and bits == 8 and self.channels in (1, 3)
        if not usual or self.height * self.width > LARGEST or len(rows) != 3 * self.channels:
            return False
        for name, factors, quantization in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            self._components[name] = Component(factors >> 4, factors & 15, quantization)
        return len(self._components) == self.channels and _even_sampling([*self._components.values()])

    def _takes_quantization(self, segment: bytes) -> bool:
        while segment:
            wide, place = segment[0] >> 4, segment[0] & 15
            size = 1 + QUANTIZERS * (wide + 1)
            if wide > 1 or place not in PLACES or len(segment) < size:
                return False
            self._quantization.add(place)
            segment = segment[size:]
        return True

    def _takes_huffman(self, segment: bytes) -> bool:
        while segment:
            kind, place, counts = segment[0] >> 4, segment[0] & 15, segment[1:17]
            symbols = segment[17 : 17 + sum(counts)]
            usual = kind in (DIFFERENCES, COEFFICIENTS) and place in PLACES and len(counts) == 16
            if not usual or len(symbols) < sum(counts) or not _is_code(counts):
                return False
            if kind == DIFFERENCES and max(symbols, default=0) > LARGEST_DIFFERENCE:
                return False
            self._huffman.add((kind, place))
            segment = segment[17 + len(symbols) :]
        return True

    def _takes_scan(self, segment: bytes) -> bool:
        count = segment[0]
        names, tables = segment[1 : 1 + 2 * count : 2], segment[2 : 2 + 2 * count : 2]
        if not count or len(segment) != 4 + 2 * count or len({*names} & self._components.keys()) != count:
            return False
        found = [self._components[name] for name in names]
        together = count == 1 or sum(one.horizontal * one.vertical for one in found) <= MOST_BLOCKS
        if not together or not all(one.quantization in self._quantization for one in found):
            return False
        if self._progressive:
            return self._takes_pass(segment[-3:], tables)
        return self._defined(DIFFERENCES, tables) and self._defined(COEFFICIENTS, tables)

    def _takes_pass(self, span: bytes, tables: bytes) -> bool:
        """One of the scans that a progressive JPEG's pixels come in: all first coefficients, or others of one
        component, each at first without its last bits and then bit by bit."""
        first, last, before, shift = span[0], span[1], span[2] >> 4, span[2] & 15
        if shift > MOST_SHIFT or (before and before - 1 != shift):
            return False
        if first == 0:
            return last == 0 and (before > 0 or self._defined(DIFFERENCES, tables))
        return first <= last <= LAST_COEFFICIENT and len(tables) == 1 and self._defined(COEFFICIENTS, tables)

    def _defined(self, kind: int, tables: bytes) -> bool:
        places = [table >> 4 if kind == DIFFERENCES else table & 15 for table in tables]
        return all((kind, place) in self._huffman for place in places)


def _even_sampling(components: Sequence[Component]) -> bool:
    """Whether every factor is in range and divides the largest, as no decoder interpolates by fractions."""
    for factors in ([one.horizontal for one in components], [one.vertical for one in components]):
        if any(factor not in FACTORS or max(factors) % factor for factor in factors):
            return False
    return True


def _is_code(counts: Sequence[int]) -> bool:
    """Whether there can be that many codes of 1, 2, ... 16 bits, none of them all ones and none the head of another."""
    code = 0
    for bits, count in enumerate(counts, 1):
        code = 2 * code + count
        if count and code >= 2**bits:
            return False
    return sum(counts) <= MOST_SYMBOLS
