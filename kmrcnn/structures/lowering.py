"""How the operations are carried out whose size depends on values: a choice of the runtime, not of
the model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lowering:
    """Forms of three operations; the same weights give the same detections in every form.

    Training and prediction use the default, which picks the fastest for the backend. Exports pick
    forms that their runtime knows.

    Attributes:
        roi_align: `form` of `kmrcnn.custom_ops.roi_align`: a name, or a function.
        nms: `form` of `kmrcnn.postprocess.nms.grouped_nms`.
        max_candidates: Pairs of box and class that a form of NMS without loops looks at.
        static: Compute the heads for all slots, so that no size depends on values.
        block_cells: With `static`: compute them for so many cells of RoI features at a time, in a
            loop that ends with the last used slot.
    """

    roi_align: object = None
    nms: str | None = None
    max_candidates: int = 4096
    static: bool = False
    block_cells: int | None = None


NATIVE = Lowering()
