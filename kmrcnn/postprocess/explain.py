"""One picture through the model stage by stage, keeping what each stage removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.explanation import Explanation

if TYPE_CHECKING:
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN


@dataclass(frozen=True)
class Stages:
    """Intermediate results of one picture, NumPy, network frame."""

    proposals: dict[str, np.ndarray]  # "boxes" (R, 4), "scores", "levels" (R,)
    roi_levels: np.ndarray  # (R,)
    candidates: dict[
        str, np.ndarray
    ]  # "boxes" (N, 4), "scores", "classes", "proposal_index", "status", "suppressed_by"
    num_below_threshold: int
    detections: dict[str, np.ndarray]  # what the model returns, without the batch axis
    config: object  # the box branch's

    def to_explanation(
        self, scale: np.ndarray, score_threshold: float, detections: Detections
    ) -> Explanation:
        """Scale (4,) takes boxes to the original frame; the predictor's own threshold marks
        "score".
        """
        candidates = self.candidates
        low = (candidates["status"] == "kept") & (candidates["scores"] < score_threshold)
        return Explanation(
            proposals=self.proposals["boxes"] * scale,
            objectness=self.proposals["scores"],
            levels=self.proposals["levels"],
            roi_levels=self.roi_levels,
            boxes=candidates["boxes"] * scale,
            scores=candidates["scores"],
            classes=candidates["classes"],
            proposal_index=candidates["proposal_index"],
            status=np.where(low, "score", candidates["status"]),
            suppressed_by=candidates["suppressed_by"],
            num_below_threshold=self.num_below_threshold,
            score_threshold=self.config.score_threshold,
            nms_threshold=self.config.nms_threshold,
            max_detections=self.config.max_detections,
            detections=detections,
        )


def explain_detections(model: GeneralizedRCNN, inputs: dict[str, np.ndarray]) -> Stages:
    """Run the parts of the model one after another.

    Args:
        model: The model.
        inputs: {"images": (1, H, W, C), "image_sizes": (1, 2)}: one picture.
    """
    images, sizes = (
        ops.convert_to_tensor(inputs["images"]),
        ops.convert_to_tensor(inputs["image_sizes"]),
    )
    placed = model.placement(images, sizes)
    features = model.neck(model.backbone(model.normalize(placed.images, placed.content)))
    proposals = model.rpn(features, placed.images, placed.proposal_limits)
    box = model.roi_heads.box
    outputs = box(features, proposals["boxes"], proposals["valid"])
    limits = placed.detection_limits
    scored = box.score_boxes(outputs, proposals, limits)
    boxes, scores = (ops.convert_to_numpy(v)[0] for v in scored)
    valid = ops.convert_to_numpy(proposals["valid"])[0]
    candidates, num_below = _candidates(boxes[valid], scores[valid], box.config)
    detections = model.placement.leave(model.roi_heads(features, proposals, limits), placed)
    found = {name: ops.convert_to_numpy(v)[0] for name, v in detections.items()}
    kept = {name: ops.convert_to_numpy(value)[0][valid] for name, value in proposals.items()}
    roi_levels = box.pooler.assign_levels(ops.convert_to_tensor(kept["boxes"]))
    for boxes in (kept, candidates):
        boxes["boxes"] = _outside(boxes["boxes"], model.placement, placed)
    kept["levels"] = kept["levels"] + _level_number(model.rpn.level_names[0])
    return Stages(
        proposals=kept,
        roi_levels=ops.convert_to_numpy(roi_levels),
        candidates=candidates,
        num_below_threshold=num_below,
        detections=found,
        config=box.config,
    )


def _outside(boxes: np.ndarray, placement, placed) -> np.ndarray:
    """Boxes (N, 4) of the canvas frame, counted from the picture's corner."""
    used = np.ones((1, len(boxes)), bool)
    left = placement.leave({"boxes": ops.convert_to_tensor(boxes[None]), "valid": used}, placed)
    return ops.convert_to_numpy(left["boxes"])[0]


def _level_number(name: str) -> int:
    return int(name[1:])


def _candidates(boxes: np.ndarray, scores: np.ndarray, config) -> tuple[dict[str, np.ndarray], int]:
    """(proposal, class) pairs above the threshold, best first, with what became of each; and how
    many were below.

    Args:
        boxes: (R, K or 1, 4).
        scores: (R, K).
        config: The box branch's.
    """
    sets = np.broadcast_to(boxes, scores.shape + (4,))
    sides = sets[..., 2:] - sets[..., :2]
    above = (scores > config.score_threshold) & (sides >= config.min_size).all(-1)
    proposal_index, classes = np.nonzero(above)
    order = np.argsort(-scores[above], kind="stable")
    proposal_index, classes = proposal_index[order], classes[order]
    chosen = {
        "boxes": sets[proposal_index, classes],
        "scores": scores[proposal_index, classes],
        "classes": classes.astype(np.int32),
        "proposal_index": proposal_index.astype(np.int32),
    }
    suppressed_by = _greedy_nms(chosen["boxes"], chosen["classes"], config.nms_threshold)
    status = np.where(suppressed_by >= 0, "nms", "kept").astype("<U5")
    status[np.nonzero(status == "kept")[0][config.max_detections :]] = "limit"
    chosen |= {"status": status, "suppressed_by": suppressed_by}
    return chosen, int((~above).sum())


def _greedy_nms(boxes: np.ndarray, classes: np.ndarray, threshold: float) -> np.ndarray:
    """For boxes (N, 4), best first: index of the kept box of the same class that removes each one,
    or -1.
    """
    suppressed_by = np.full(len(boxes), -1, np.int32)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(len(boxes)):
        if suppressed_by[i] >= 0:
            continue
        rest = (
            i + 1 + np.nonzero((classes[i + 1 :] == classes[i]) & (suppressed_by[i + 1 :] < 0))[0]
        )
        sides = np.minimum(boxes[i, 2:], boxes[rest, 2:]) - np.maximum(
            boxes[i, :2], boxes[rest, :2]
        )
        overlap = np.prod(np.maximum(sides, 0), axis=1)
        iou = overlap / np.maximum(areas[i] + areas[rest] - overlap, 1e-12)
        suppressed_by[rest[iou > threshold]] = i
    return suppressed_by
