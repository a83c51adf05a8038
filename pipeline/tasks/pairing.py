"""Two lists of detections of the same pictures, brought into the same order.

B = batch, M = detections, padded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def in_order_of(expected: Arrays, found: Arrays) -> dict[str, np.ndarray]:
    """The detections of `found` in the order of `expected`: each at the place of the one of its class that is nearest.

    Args:
        expected, found: `boxes` [B, M, 4], `classes` and `scores` [B, M], `count` [B].

    Returns:
        As `found`; what has no counterpart keeps the places that are left.
    """
    orders = np.stack([_order(expected, found, row) for row in range(len(found["count"]))])
    rows = np.arange(len(orders))[:, np.newaxis]
    return {name: values if name == "count" else np.asarray(values)[rows, orders] for name, values in found.items()}


def _order(expected: Arrays, found: Arrays, row: int) -> np.ndarray:
    """int64 [M]: the number of the found detection that goes to each place."""
    from scipy.optimize import linear_sum_assignment

    apart = np.abs(expected["boxes"][row][:, np.newaxis] - found["boxes"][row][np.newaxis]).sum(axis=-1)
    other_class = expected["classes"][row][:, np.newaxis] != found["classes"][row][np.newaxis]
    scores = np.abs(expected["scores"][row][:, np.newaxis] - found["scores"][row][np.newaxis])
    _, order = linear_sum_assignment(apart + scores + 10.0 * other_class)
    return np.asarray(order)
