"""From an example to the targets of one picture in the network frame, and back for drawing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.augment.objects import clip_boxes, tightened
from kmrcnn.data.augment.warp import scaling, warp_boxes, warp_keypoints, warp_mask
from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.mask_cells import from_cells, to_cells


class Targets(NamedTuple):
    """The n objects of a picture that a model is to find, in the network frame."""

    boxes: np.ndarray  # (n, 4) float32, xyxy
    classes: np.ndarray  # (n,) int32
    masks: np.ndarray  # (n, S, S) uint8, 0 or 1
    mask_windows: np.ndarray  # (n, 4) float32, xyxy: what the S x S cells of a mask cover
    keypoints: np.ndarray  # (n, J, 3) float32, x, y, visibility


def make_targets(
    example: Example,
    network_size: tuple[int, int],
    crop_size: int | None,
    max_objects: int,
    num_keypoints: int | None = None,
) -> Targets:
    """Scales the objects of an example to the network frame and cuts their masks out.

    Crowds are no targets, nor are objects of which no pixel is left. Of more than `max_objects` the
    largest stay. (Both reference systems drop crowds, too, and none of the others.)

    Args:
        example: In its own frame.
        network_size: (height, width) of the picture in the network frame, without padding.
        crop_size: S; None leaves masks out (S is 0).
        max_objects: Most targets.
        num_keypoints: J; None leaves keypoints out (J is 0).

    Raises:
        ValueError: Masks or keypoints are wanted and the example has none, or keypoints of another
            number.
    """
    matrix = scaling(example.size, network_size)
    boxes = clip_boxes(warp_boxes(example.boxes, matrix), network_size)
    usable = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & ~example.is_crowd
    keypoints = _keypoints(example, matrix, num_keypoints)
    if crop_size is None:
        kept = _largest(np.flatnonzero(usable), example.area, max_objects)
        return _without_masks(boxes[kept], example.classes[kept], keypoints[kept])
    if example.masks is None:
        raise ValueError(
            f"Example {example.image_id!r} has boxes but no masks, which the model is to learn. "
            "Set `data.masks` to false to train without."
        )
    usable &= np.array([mask.bitmap.any() for mask in example.masks], bool)
    ranked = _largest(np.flatnonzero(usable), example.area, len(usable))
    moved = {i: _moved(example.masks[i], matrix, example.size, network_size) for i in ranked}
    kept = np.array([i for i, mask in moved.items() if mask.bitmap.size][:max_objects], int)
    masks = [to_cells(moved[i], crop_size, network_size) for i in kept]
    cells = np.zeros((len(masks), crop_size, crop_size), np.uint8)
    windows = np.zeros((len(masks), 4), np.float32)
    for slot, mask in enumerate(masks):
        cells[slot], windows[slot] = mask
    return Targets(boxes[kept], example.classes[kept], cells, windows, keypoints[kept])


def to_example(inputs: dict[str, Any], row: int, config: InputConfig) -> Example:
    """One picture of a batch as the model sees it, with its targets: for drawing.

    Masks larger than their S x S cells come back as coarse as they travelled.

    Args:
        inputs: A batch of `make_pipeline`.
        row: Which of its pictures.
        config: The model's input settings.
    """
    height, width = (int(side) for side in inputs["image_sizes"][row])
    image = np.rint(np.asarray(inputs["images"][row])[:height, :width])
    image = np.clip(image, 0, 255).astype(np.uint8)
    if config.channel_order == "bgr":
        image = image[..., ::-1]
    targets = {name: np.asarray(value[row]) for name, value in inputs["targets"].items()}
    valid = targets["valid"]
    masks = None
    if "masks" in targets:
        pairs = zip(targets["masks"][valid], targets["mask_windows"][valid])
        masks = [from_cells(cells, window, (height, width)) for cells, window in pairs]
    return Example(
        np.ascontiguousarray(image),
        targets["boxes"][valid],
        targets["classes"][valid],
        masks,
        image_id=int(inputs["image_index"][row]),
        keypoints=targets["keypoints"][valid] if "keypoints" in targets else None,
    )


def _largest(indices: np.ndarray, area: np.ndarray, number: int) -> np.ndarray:
    """At most `number` of the indices, by falling area; ties in their order."""
    return indices[np.argsort(-area[indices], kind="stable")][:number]


def _moved(
    mask: MaskCrop, matrix: np.ndarray, size: tuple[int, int], network_size: tuple[int, int]
) -> MaskCrop:
    if size != network_size:
        mask = warp_mask(mask, matrix, network_size)
    return tightened(mask)


def _keypoints(example: Example, matrix: np.ndarray, number: int | None) -> np.ndarray:
    """(N, J, 3) float32 of all objects."""
    if number is None:
        return np.zeros((len(example.boxes), 0, 3), np.float32)
    if example.keypoints is None or example.keypoints.shape[1] != number:
        has = "none" if example.keypoints is None else example.keypoints.shape[1]
        raise ValueError(
            f"The objects of example {example.image_id!r} must have the {number} keypoints that "
            f"the model is to learn. Received: {has}"
        )
    return warp_keypoints(example.keypoints, matrix)


def _without_masks(boxes: np.ndarray, classes: np.ndarray, keypoints: np.ndarray) -> Targets:
    number = len(boxes)
    cells, windows = np.zeros((number, 0, 0), np.uint8), np.zeros((number, 4), np.float32)
    return Targets(boxes, classes, cells, windows, keypoints)
