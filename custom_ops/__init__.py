"""Compiled operators: RoIAlign over a feature pyramid, on the CPU and the GPU.

    from kmrcnn.custom_ops import roi_align, is_compiled

The library is compiled at first use and cached (`python -m kmrcnn.custom_ops` does it ahead of
time); where it cannot be had, slower forms of the same operator serve. README.md here has the
mathematics and how to add an operator.
"""

from kmrcnn.custom_ops.library import is_compiled
from kmrcnn.custom_ops.roi_align.levels import fpn_level_areas
from kmrcnn.custom_ops.roi_align.roi_align import roi_align

__all__ = ["fpn_level_areas", "is_compiled", "roi_align"]
