"""Receptive fields: which pixels the hidden units of the first layer read."""

from typing import Any

import numpy as np

#: Rings by distance from the centre of the image, up to a quarter and a half of its side, and more.
RINGS = ("centre", "middle", "edge")


def receptive_fields(mask: np.ndarray) -> dict[str, Any]:
    """Describes the mask of a first layer.

    Args:
      mask: (pixels, units) bool, of a square image.

    Returns:
      `pixels`, the fraction of the pixels with an active weight; `rings`, the mean number of active
      weights of a pixel by ring; `distance`, the mean distance between two pixels that a unit
      reads, over all such pairs, in pixels; and `shuffled`, what this is expected to be if the
      active weights of each pixel belong to random units.
    """
    side = round(len(mask) ** 0.5)
    places = np.stack(np.divmod(np.arange(side * side), side), 1)
    counts = mask.sum(1)
    radius = np.linalg.norm(places - (side - 1) / 2, axis=1)
    rings = np.digitize(radius, (side / 4, side / 2))
    links = mask.astype(np.float64)
    return {
        "pixels": float((counts > 0).mean()),
        "rings": {name: float(counts[rings == i].mean()) for i, name in enumerate(RINGS)},
        "distance": _mean_distance(places, links @ links.T),
        "shuffled": _mean_distance(places, np.outer(counts, counts)),
    }


def _mean_distance(places: np.ndarray, pairs: np.ndarray) -> float:
    """Averages the distance between different pixels, weighted by the units that they share."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    weights = pairs * (1 - np.eye(len(pairs)))
    return float(np.sum(distances * weights) / np.sum(weights))
