"""Pictures that are looked at again and again, decoded once, as long as they are among those looked at last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

import numpy as np

from pipeline.data.example import content_of
from pipeline.data.pictures import BadPicture, opened_upright

LIMIT = 256 * 2**20
"""Bytes of decoded pictures: a few thousand small frames, or some photographs."""


class RecentPictures:
    """Decoded pictures, for several threads. Memory stays bounded however long a video is.

    Args:
        limit: bytes of pixels that are kept.
    """

    def __init__(self, limit: int = LIMIT):
        self._limit, self._size, self._lock = limit, 0, Lock()
        self._known: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def pixels(self, key: Hashable, image: Any) -> np.ndarray:
        """uint8 [h,w,3] of an example's `image`.

        Args:
            key: the same for the same picture only.

        Raises:
            BadPicture: it cannot be decoded.
            OSError: its file cannot be read.
        """
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        pixels = decoded(image)
        with self._lock:
            if key not in self._known:
                self._known[key] = pixels
                self._size += pixels.nbytes
            while self._size > self._limit:
                self._size -= self._known.popitem(last=False)[1].nbytes
        return pixels


RECENT = RecentPictures()
"""Those of this process: what pairs are cut from is written down and read again before it is done."""


def decoded(image: Any) -> np.ndarray:
    """uint8 [h,w,3]; errors as of `RecentPictures.pixels`."""
    content = content_of(image)
    if isinstance(content, np.ndarray):
        return np.repeat(content, 3, axis=-1) if content.shape[-1] == 1 else content
    try:
        return np.asarray(opened_upright(content).convert("RGB"))
    except OSError as error:
        raise BadPicture(str(error)) from error
