"""Makes coins_reference.npz: the outlines of the 24 coins in scikit-image's photograph `coins`.

The photograph (303 x 384, gray) is "Greek coins from Pompeii" of the Brooklyn Museum Collection,
with no known copyright restrictions; scikit-image ships it. Only the outlines are stored here,
never its pixels.

Recipe: watershed of the Sobel elevation from two brightness markers, holes filled, specks of dust
opened away. It was checked by eye at ten times magnification; three outlines leave out a dull piece
of their coin, which `ADDITIONS` puts back as hand-drawn polygons.

    python tests/golden/make_coins_reference.py        # needs scikit-image and scipy

Versions of the stored file: scikit-image 0.26.0, scipy 1.17.1, numpy 2.4.6.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import data, draw, filters, segmentation

# (x, y) corners, one polygon per repaired coin; 0 is the centre of the first pixel.
ADDITIONS = (
    (
        (255, 58),
        (258, 62),
        (262, 67),
        (268, 70),
        (266, 58),
    ),  # seated figure, first row: dull lower left
    ((283, 208), (292, 210), (291, 212), (288, 215), (284, 216)),  # helmeted head, third row: chin
    (
        (35, 180),
        (38, 178),
        (41, 177),
        (46, 177),
        (49, 178),
        (51, 180),
    ),  # third row, first: dull top
)
ROW_HEIGHT = 75  # pixels between rows of coins, for numbering in reading order


def coin_labels(image: np.ndarray) -> np.ndarray:
    """Label map (H, W) uint8 of the coins, 1..24 in reading order, 0 elsewhere."""
    markers = np.zeros(image.shape, int)
    markers[image < 30] = 1
    markers[image > 150] = 2
    coins = segmentation.watershed(filters.sobel(image), markers) == 2
    for corners in ADDITIONS:
        x, y = np.array(corners).T
        coins[draw.polygon(y, x, coins.shape)] = True
    coins = ndimage.binary_opening(ndimage.binary_fill_holes(coins), np.ones((3, 3)))
    labels, count = ndimage.label(coins)
    if count != 24:
        raise RuntimeError(f"Expected 24 coins, found {count}: has scikit-image changed?")
    centres = np.array(ndimage.center_of_mass(coins, labels, range(1, count + 1)))
    order = np.lexsort((centres[:, 1], centres[:, 0] // ROW_HEIGHT))
    number = np.zeros(count + 1, np.uint8)
    number[order + 1] = np.arange(1, count + 1)
    return number[labels]


if __name__ == "__main__":
    np.savez_compressed(
        Path(__file__).with_name("coins_reference.npz"), labels=coin_labels(data.coins())
    )
