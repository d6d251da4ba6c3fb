"""How far an artefact may be from its model before verification fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Limits of one precision.

    Attributes:
        share: Of the pairs of detections, this share must keep the next two limits. Where numbers
            are rounded, two boxes that nearly tie may change places in NMS, and the survivor is
            then another box of the same object: rare, large and harmless.
        box_px: Difference of a box's corner in pixels of the original picture.
        score: Difference of scores.
        mask_pixels: Least share of equal mask pixels inside the boxes.
        keypoints: Least share of keypoints that are no more than a cell of their heatmap apart.
        matched: Least share of detections above the score floor that have a partner.
        ap: Loss of box or mask AP, which is in [0, 1].
    """

    share: float
    box_px: float
    score: float
    mask_pixels: float
    keypoints: float
    matched: float
    ap: float


_INT8 = Tolerance(
    0.9, box_px=8.0, score=0.15, mask_pixels=0.93, keypoints=0.85, matched=0.85, ap=1e-2
)
TOLERANCES = {
    # The same arithmetic in another order: sums of 10^3 to 10^4 float32 products in each of some 60
    # layers leave 1e-5 of the scores and 1e-4 of box sides of up to 1000 px.
    "float32": Tolerance(
        1.0, box_px=0.05, score=1e-4, mask_pixels=0.999, keypoints=0.995, matched=1.0, ap=1e-3
    ),
    # Activations have 11 bits: 5e-4 each, some 1e-3 of box sides and of scores after all layers.
    "float16": Tolerance(
        0.95, box_px=1.0, score=0.02, mask_pixels=0.99, keypoints=0.97, matched=0.97, ap=2e-3
    ),
    # Weights have 8 bits with a scale for each channel: errors of per cents. AP tells whether they
    # matter; without annotations these limits tell a working model from a broken one.
    "dynamic_int8": _INT8,
    # Activations have 8 bits too, with the ranges of the calibration images.
    "int8": _INT8,
}
