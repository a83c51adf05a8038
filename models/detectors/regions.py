"""RoIAlign: a picture of fixed size of each region, cut from feature maps, in operators that int8 has.

B = batch, Q = regions, S = bins of a region's side, h, w = positions, F = features.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from models.detectors.layout import Layout
from models.stack import keras

Tensor = Any


def aligned(layout: Layout, levels: Mapping[int, Tensor], regions: Tensor, bins: int, least_cells: float) -> Tensor:
    """S x S bins of each region, each the mean of four points between the positions of a map (He et al. 2017, "Mask
    R-CNN", section 3).

    Two products of matrices in place of gathering and adding four positions for each point: in int8 each product is
    rounded once, and on a processor they are quick for maps of some thousand positions.

    Args:
        levels: stride -> [B, h, w, F], the finest first.
        regions: float32 [B, Q, 4], shares of the picture; of a `models.layers.InFloat`.
        bins: S.
        least_cells: a region is taken from the coarsest level in which its side is as many cells (Lin et al. 2017,
            "Feature pyramid networks", equation 1, where it is 14), or from the finest.

    Returns:
        [B, Q*S, S, F], the regions one below the other.
    """
    sides = _sides(layout, tuple(levels), least_cells)
    parts = [_cut(layout, stride, levels[stride], regions, bins, sides[stride]) for stride in levels]
    x = parts[0]
    for number, part in enumerate(parts[1:], 1):  # all but one are zeros
        x = keras.layers.Add(name=f"regions_sum_{number}")([x, part])
    return x


def _sides(layout: Layout, strides: tuple[int, ...], least_cells: float) -> dict[int, tuple[float, float]]:
    """Stride -> from which side of a region on it is the level of that stride, and from which on no more, in pixels."""
    beyond = 2.0 * max(layout.height, layout.width)
    limits = [0.0, *(least_cells * stride for stride in strides[1:]), beyond]
    return dict(zip(strides, itertools.pairwise(limits), strict=True))


def _cut(
    layout: Layout, stride: int, features: Tensor, regions: Tensor, bins: int, sides: tuple[float, float]
) -> Tensor:
    """What one level gives: [B, Q*S, S, F], zeros for the regions of other levels."""
    from models.detectors.layers import ColumnWeights, RowWeights
    from models.layers import MatrixProduct

    _, height, width, channels = features.shape
    picture, count = (layout.height, layout.width), regions.shape[1] * bins
    rows = RowWeights(
        bins=bins, cells=height, step=stride / layout.height, sides=sides, picture=picture,
        name=f"region_row_weights_{stride}",
    )(regions)  # fmt: skip
    columns = ColumnWeights(
        bins=bins, cells=width, step=stride / layout.width, name=f"region_column_weights_{stride}"
    )(regions)  # fmt: skip
    x = keras.layers.Reshape((height, width * channels), name=f"region_map_{stride}")(features)
    x = MatrixProduct(name=f"region_rows_{stride}")([rows, x])
    x = keras.layers.Reshape((count, width, channels), name=f"region_rows_apart_{stride}")(x)
    return MatrixProduct(name=f"regions_{stride}")([columns, x])
