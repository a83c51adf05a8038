"""What holds for every way to compress, on a network made for small pictures and on one made for phones."""

from __future__ import annotations
