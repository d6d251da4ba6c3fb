"""Greedy non-maximum suppression within groups (classes or pyramid levels), fixed output size."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.typing import Tensor

NEVER = -1e30  # score of an unused slot


class Kept(NamedTuple):
    """What survives, best first, padded to the requested number."""

    boxes: Tensor  # (B, D, 4) float32
    scores: Tensor  # (B, D) float32
    groups: Tensor  # (B, D) int32
    valid: Tensor  # (B, D) bool


def grouped_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = NEVER / 2,
    max_candidates: int = 4096,
) -> Kept:
    """Suppress boxes that overlap a better one of the same group by more than `iou_threshold`.

    Groups do not see each other, and no box is moved to keep them apart, so no precision is lost.

    Args:
        boxes: (B, N, G, 4), or (B, N, 1, 4) where all groups share their boxes; xyxy.
        scores: (B, N, G); unused slots hold `NEVER`.
        iou_threshold: A box with exactly this overlap stays.
        max_outputs: D, the number of boxes to keep over all groups.
        score_threshold: Scores must exceed this.
        max_candidates: Only outside TensorFlow: the best so many (box, group) pairs are looked at.
            The result is exact while they hold all pairs above the threshold or D survivors.
    """
    if keras.backend.backend() == "tensorflow":
        return _combined_nms(boxes, scores, iou_threshold, max_outputs, score_threshold)
    return _fixpoint_nms(boxes, scores, iou_threshold, max_outputs, score_threshold, max_candidates)


def _combined_nms(boxes, scores, iou_threshold, max_outputs, score_threshold) -> Kept:
    import tensorflow as tf

    if (
        score_threshold < 0
    ):  # the kernel pads with -1, so logits are replaced by their rank from below
        flat = tf.reshape(scores, (tf.shape(scores)[0], -1))
        descending = tf.sort(flat, direction="DESCENDING")
        rank = tf.argsort(tf.argsort(flat, direction="DESCENDING", stable=True), stable=True)
        number = tf.shape(flat)[1]
        from_below = tf.cast(number - rank, "float32")  # (B, N * G), the best has N * G
        from_below = tf.where(flat > score_threshold, from_below, 0.0)
        kept = _combined_nms(
            boxes, tf.reshape(from_below, tf.shape(scores)), iou_threshold, max_outputs, 0.5
        )
        place = tf.maximum(number - tf.cast(kept.scores, "int32"), 0)
        values = tf.gather(descending, tf.minimum(place, number - 1), batch_dims=1)
        return kept._replace(scores=tf.where(kept.valid, values, 0.0))
    kept_boxes, kept_scores, groups, number = tf.image.combined_non_max_suppression(
        boxes,
        scores,
        max_output_size_per_class=max_outputs,
        max_total_size=max_outputs,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,
    )
    valid = tf.range(max_outputs)[None, :] < number[:, None]
    kept_boxes = tf.reshape(kept_boxes, (-1, max_outputs, 4))
    kept_scores = tf.where(valid, tf.reshape(kept_scores, (-1, max_outputs)), 0.0)
    groups = tf.where(valid, tf.cast(tf.reshape(groups, (-1, max_outputs)), "int32"), 0)
    return Kept(kept_boxes, kept_scores, groups, valid)


def _fixpoint_nms(
    boxes, scores, iou_threshold, max_outputs, score_threshold, max_candidates
) -> Kept:
    """The greedy result without a loop over boxes.

    A candidate stays if no better candidate that stays suppresses it. Starting from "all stay" and
    applying that rule until nothing changes gives the greedy answer after as many rounds as the
    longest chain of suppressions.
    """
    number, groups = scores.shape[1], scores.shape[2]
    candidates = min(max_candidates, number * groups)
    best, index = ops.top_k(ops.reshape(scores, (-1, number * groups)), candidates)  # (B, M)
    group = ops.cast(index % groups, "int32")
    if boxes.shape[2] == 1:
        index = index // groups
    chosen = ops.take_along_axis(
        ops.reshape(boxes, (-1, number * boxes.shape[2], 4)), index[..., None], axis=1
    )
    suppresses = (
        box_ops.pairwise_iou(chosen, chosen) > iou_threshold
    )  # (B, M, M): row against column
    suppresses = ops.logical_and(suppresses, group[:, :, None] == group[:, None, :])
    rank = ops.arange(candidates)
    suppresses = ops.logical_and(suppresses, rank[:, None] < rank[None, :])
    suppresses = ops.cast(suppresses, "float32")
    eligible = best > score_threshold  # (B, M)

    def refine(keep, changed):
        hits = ops.squeeze(ops.matmul(ops.cast(keep, "float32")[:, None, :], suppresses), 1)
        update = ops.logical_and(eligible, hits < 0.5)
        return update, ops.any(update != keep)

    keep, _ = ops.while_loop(
        lambda keep, changed: changed, refine, (eligible, ops.convert_to_tensor(True))
    )
    pad = max(max_outputs - candidates, 0)
    final, place = ops.top_k(ops.where(keep, best, NEVER), min(max_outputs, candidates))
    valid = final > NEVER / 2 if score_threshold < 0 else final > score_threshold
    final_boxes = ops.take_along_axis(chosen, place[..., None], axis=1)
    final_groups = ops.take_along_axis(group, place, axis=1)
    return Kept(
        ops.pad(ops.where(valid[..., None], final_boxes, 0.0), ((0, 0), (0, pad), (0, 0))),
        ops.pad(ops.where(valid, final, 0.0), ((0, 0), (0, pad))),
        ops.pad(ops.where(valid, final_groups, 0), ((0, 0), (0, pad))),
        ops.pad(valid, ((0, 0), (0, pad))),
    )
