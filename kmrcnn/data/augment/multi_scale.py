"""Multi-scale training: another length of the shorter side for every picture."""

from __future__ import annotations

import dataclasses

import numpy as np

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig


def draw_short_side(
    input_config: InputConfig, data_config: DataConfig, rng: np.random.Generator
) -> InputConfig:
    """The input settings with a short side drawn from `short_sides`; the longer side keeps its
    limit, as in Detectron2's `ResizeShortestEdge`.
    """
    sides = data_config.short_sides
    if not sides:
        return input_config
    if data_config.short_side_sampling == "range":
        side = rng.integers(min(sides), max(sides) + 1)
    else:
        side = rng.choice(sides)
    return dataclasses.replace(input_config, short_side=int(side))
