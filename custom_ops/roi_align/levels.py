"""Which pyramid level a RoI is pooled from (Lin et al. 2017, equation 1), as areas to compare.

The rule k = floor(k0 + log2(sqrt(area) / 224)) is a staircase in the area. Knowing its steps, the
kernels and every other form compare areas, without a logarithm whose last bit differs by platform.
"""

from __future__ import annotations

from typing import Literal

import numpy as np


def fpn_level_areas(
    lowest: int,
    highest: int,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
    epsilon: float = 1e-6,
    epsilon_on: Literal["logarithm", "ratio"] = "logarithm",
    rounding: Literal["floor", "nearest"] = "floor",
) -> tuple[float, ...]:
    """Smallest area of each level above the lowest, for `roi_align`'s `level_areas`.

    Args:
        lowest: Finest level that is pooled from, e.g. 2 for P2.
        highest: Coarsest one, e.g. 5 for P5.
        canonical_level: Level of a box of the canonical size.
        canonical_size: Side of that box, pixels.
        epsilon: What keeps a box of exactly that side on its level despite rounding.
        epsilon_on: Where it is added: to the "logarithm" (torchvision, 1e-6) or to the "ratio" of
            sides (Detectron2, 1e-8).
        rounding: Of the logarithm: "floor", as the paper has it, or to the "nearest" level, the
            middle between two to the even one.

    Returns:
        highest - lowest float32 areas in pixels^2, ascending: the least for which the rule,
        computed in float32 as these systems do, gives the level.

    Raises:
        ValueError: If the levels are not in order or the rule is unknown.
    """
    if highest < lowest:
        raise ValueError(f"`highest` must be at least `lowest`. Received: {lowest}..{highest}")
    if epsilon_on not in ("logarithm", "ratio"):
        raise ValueError(f"`epsilon_on` must be 'logarithm' or 'ratio'. Received: {epsilon_on!r}")
    if rounding not in ("floor", "nearest"):
        raise ValueError(f"`rounding` must be 'floor' or 'nearest'. Received: {rounding!r}")

    def level_of(area: np.float32) -> np.float32:
        ratio = np.sqrt(area) / np.float32(canonical_size)
        if epsilon_on == "ratio":
            level = np.float32(canonical_level) + np.log2(ratio + np.float32(epsilon))
        else:
            level = np.float32(canonical_level) + np.log2(ratio) + np.float32(epsilon)
        return np.rint(level) if rounding == "nearest" else level

    return tuple(
        _smallest(lambda area, level=level: level_of(area) >= level)
        for level in range(lowest + 1, highest + 1)
    )


def _smallest(holds) -> float:
    """Smallest positive float32 for which a monotonic condition holds, by bisection.

    Positive floats are in the order of their bits.
    """
    below, above = 0, int(np.float32(np.finfo("float32").max).view("int32"))
    while above - below > 1:
        middle = (below + above) // 2
        if holds(np.int32(middle).view("float32")):
            above = middle
        else:
            below = middle
    return float(np.int32(above).view("float32"))
