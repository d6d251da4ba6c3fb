"""Greedy non-maximum suppression within groups (classes or pyramid levels), fixed output size.

One function, four forms; runtimes differ in what they can carry out.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import keras
from keras import ops

from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.rows import take_rows
from kmrcnn.structures.typing import Tensor

NEVER = -1e30  # score of an unused slot
# Of the unrolled form. The longest chain of suppressions was 7 in a trained model and 13 among a
# thousand random boxes per level; a round costs little.
ROUNDS = 16

Form = Literal["combined", "fixpoint", "unrolled", "per_image"]


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
    form: Form | None = None,
) -> Kept:
    """Suppress boxes that overlap a better one of the same group by more than `iou_threshold`.

    Args:
        boxes: (B, N, G, 4), or (B, N, 1, 4) where all groups share their boxes; xyxy.
        scores: (B, N, G); unused slots hold `NEVER`.
        iou_threshold: A box with exactly this overlap stays.
        max_outputs: D, the number of boxes to keep over all groups.
        score_threshold: Scores must exceed this.
        max_candidates: Not in the combined form: where there are more (box, group) pairs, only the
            best so many are looked at. The result is exact while they hold all pairs above the
            threshold or D survivors.
        form: How it is carried out; None chooses. "combined": TensorFlow's kernel, which looks at
            every pair. "fixpoint": `keras.ops` with a loop until nothing changes, for every
            backend. "unrolled": the same with a fixed number of rounds, `ROUNDS`, and no loop, for
            graphs that must not have one; exact unless a chain of suppressions is longer.
            "per_image": TensorFlow's `NonMaxSuppressionV4`, which LiteRT has too, on candidates
            of which those of different groups are moved apart; static shapes.

    Returns:
        The boxes that stay. Groups do not see each other.
    """
    if form is None:
        form = "combined" if keras.backend.backend() == "tensorflow" else "fixpoint"
    if form == "combined":
        return _combined_nms(boxes, scores, iou_threshold, max_outputs, score_threshold)
    candidates = _choose_candidates(boxes, scores, max_candidates)
    eligible = candidates.scores > score_threshold
    if form == "per_image":
        keep = _keep_by_kernel(candidates, eligible, iou_threshold, max_outputs)
    elif form in ("fixpoint", "unrolled"):
        rounds = ROUNDS if form == "unrolled" else None
        keep = _keep_by_rounds(candidates, eligible, iou_threshold, rounds)
    else:
        raise ValueError(f"`form` must be one of {Form.__args__}. Received: {form!r}")
    return _best(candidates, keep, max_outputs)


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


class Candidates(NamedTuple):
    """The pairs looked at, in S sets that do not see each other, each best first."""

    boxes: Tensor  # (B, S, M, 4)
    scores: Tensor  # (B, S, M)
    groups: Tensor  # (B, S, M) int32
    mixed: bool  # whether a set holds more than one group


def _choose_candidates(boxes, scores, max_candidates) -> Candidates:
    """A set for each group if there are few enough pairs, else one set of the best pairs."""
    number, groups = scores.shape[1], scores.shape[2]
    if number * groups <= max_candidates:
        best, index = ops.top_k(ops.transpose(scores, (0, 2, 1)), number)  # (B, G, N)
        own = ops.transpose(boxes, (0, 2, 1, 3))  # (B, G or 1, N, 4)
        chosen = take_rows(ops.broadcast_to(own, ops.shape(best) + (4,)), index)
        group = ops.arange(groups, dtype="int32")[None, :, None]
        return Candidates(chosen, best, ops.broadcast_to(group, ops.shape(best)), mixed=False)
    best, index = ops.top_k(ops.reshape(scores, (-1, 1, number * groups)), max_candidates)
    index = ops.cast(index, "int32")
    box = index // groups
    every = ops.reshape(boxes, (-1, 1, number * boxes.shape[2], 4))
    chosen = take_rows(every, box if boxes.shape[2] == 1 else index)
    return Candidates(chosen, best, index - box * groups, mixed=groups > 1)


def _keep_by_rounds(candidates: Candidates, eligible, iou_threshold, rounds):
    """The greedy result without a loop over boxes, (B, S, M) bool.

    A candidate stays if no better candidate that stays suppresses it. Starting from "all stay" and
    applying that rule until nothing changes gives the greedy answer after as many rounds as the
    longest chain of suppressions.
    """
    boxes, groups = candidates.boxes, candidates.groups
    suppresses = box_ops.pairwise_iou(boxes, boxes) > iou_threshold  # (B, S, M, M): row, column
    # Exporters would store comparisons of constant ranks, M x M; these depend on the scores.
    rank = ops.where(eligible, ops.arange(boxes.shape[2], dtype="int32"), boxes.shape[2])
    suppresses = ops.logical_and(suppresses, rank[..., :, None] < rank[..., None, :])
    if candidates.mixed:
        same = groups[..., :, None] == groups[..., None, :]
        suppresses = ops.logical_and(suppresses, same)
    suppresses = ops.cast(suppresses, "float32")

    def refine(keep):
        hits = ops.matmul(ops.cast(keep, "float32")[..., None, :], suppresses)[..., 0, :]
        return ops.logical_and(eligible, hits < 0.5)

    if rounds is not None:
        keep = eligible
        for _ in range(rounds):
            keep = refine(keep)
        return keep

    def step(keep, changed):
        update = refine(keep)
        return update, ops.any(update != keep)

    start = (eligible, ops.convert_to_tensor(True))
    return ops.while_loop(lambda keep, changed: changed, step, start)[0]


def _keep_by_kernel(candidates: Candidates, eligible, iou_threshold, max_outputs):
    """One call of the kernel per image and set, (B, S, M) bool."""
    import tensorflow as tf

    batch, sets, number = candidates.scores.shape
    if batch is None:
        raise ValueError("form='per_image' needs a fixed batch size. Received: boxes (None, ...)")
    boxes = _move_apart(candidates) if candidates.mixed else candidates.boxes
    scores = tf.where(eligible, candidates.scores, NEVER)
    most = min(max_outputs, number)
    keep = []
    for image in range(batch):
        for one in range(sets):
            index, count = tf.raw_ops.NonMaxSuppressionV4(
                boxes=boxes[image, one],
                scores=scores[image, one],
                max_output_size=most,
                iou_threshold=iou_threshold,
                score_threshold=NEVER / 2,
                pad_to_max_output_size=True,
            )
            index = tf.where(tf.range(most) < count, tf.reshape(index, (most,)), -1)
            keep.append(tf.reduce_any(index[:, None] == tf.range(number)[None, :], axis=0))
    return tf.reshape(tf.stack(keep), (batch, sets, number))


def _move_apart(candidates: Candidates):
    """Boxes of different groups get a place of their own in a square of places.

    A square, because float32 has less precision the farther out a box is.
    """
    boxes = candidates.boxes
    side = ops.max(boxes) + 1.0
    columns = 16
    column, row = candidates.groups % columns, candidates.groups // columns
    shift = ops.cast(ops.stack([column, row, column, row], axis=-1), "float32")
    return boxes + shift * side


def _best(candidates: Candidates, keep, max_outputs) -> Kept:
    """The best of all sets, padded."""
    sets, number = candidates.scores.shape[1:]
    scores = ops.reshape(ops.where(keep, candidates.scores, NEVER), (-1, sets * number))
    boxes = ops.reshape(candidates.boxes, (-1, sets * number, 4))
    groups = ops.reshape(candidates.groups, (-1, sets * number))
    most = min(max_outputs, sets * number)
    final, place = ops.top_k(scores, most)
    valid = final > NEVER / 2
    final_boxes = take_rows(boxes, place)
    final_groups = take_rows(groups[..., None], place)[..., 0]
    pad = max_outputs - most
    return Kept(
        ops.pad(ops.where(valid[..., None], final_boxes, 0.0), ((0, 0), (0, pad), (0, 0))),
        ops.pad(ops.where(valid, final, 0.0), ((0, 0), (0, pad))),
        ops.pad(ops.where(valid, final_groups, 0), ((0, 0), (0, pad))),
        ops.pad(valid, ((0, 0), (0, pad))),
    )
