"""Test-time augmentation: one picture in several sizes and mirrored, the answers put together.

As the paper (appendix B) and Detectron2 do it: boxes of all views, each with its score, go through
one NMS; then the branches describe the boxes that stay in every view, and what they say is
averaged in the frame of the box.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
from keras import ops

from kmrcnn.data.preprocess import network_size, pad_to_canvas, to_network
from kmrcnn.layers.placement import Placed
from kmrcnn.postprocess.nms import NEVER, grouped_nms

if TYPE_CHECKING:
    from kmrcnn.config.schema import InputConfig
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN

PAPER_SCALES = (0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.375, 1.5)  # 400..1200 of 800
DEFAULT_SCALES = (0.75, 1.0, 1.25)

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class InferenceAugmentation:
    """The views in which a picture is looked at.

    Each view costs a run of the network, and its features wait in memory for the second round.

    Attributes:
        short_sides: Short sides of the network's pictures; None: `DEFAULT_SCALES` times the
            model's own.
        long_side: Limit of the long side; None: the model's own, in proportion to the short side.
        flip: Look at each size mirrored, too. Left and right keypoints are told by
            `keypoint.flip_pairs` or their names.
    """

    short_sides: tuple[int, ...] | None = None
    long_side: int | None = None
    flip: bool = True

    def __post_init__(self):
        sides = self.short_sides
        if sides is not None and (not sides or min(sides) < 1):
            raise ValueError(f"`short_sides` must be positive numbers. Received: {sides}")

    def inputs(self, config: InputConfig) -> list[InputConfig]:
        """The model's `input`, once for each size."""
        sides = self.short_sides
        if sides is None:
            sides = [round(scale * config.short_side) for scale in DEFAULT_SCALES]
        ratio = config.long_side / config.short_side
        return [
            dataclasses.replace(
                config, short_side=side, long_side=self.long_side or round(ratio * side)
            )
            for side in sides
        ]


class AugmentedModel:
    """A model that looks at a picture in several views.

    Args:
        model: Its parts do the work.
        augmentation: The views.
    """

    def __init__(self, model: GeneralizedRCNN, augmentation: InferenceAugmentation):
        self.model = model
        self.inputs = augmentation.inputs(model.config.input)
        self.flips = (False, True) if augmentation.flip else (False,)
        self._detect = _Detect(model, name="detect")
        self._describe = _Describe(model, name="describe")

    def detect(self, image: np.ndarray) -> Arrays:
        """Detections of one picture, in the frame that the model alone would see it in.

        Args:
            image: (H, W, C), 0-255.

        Returns:
            What the model returns for one picture: {"boxes": (D, 4), "scores", "classes", "valid"
            (D,), "masks": (D, M, M), ...}.
        """
        frame = network_size(image.shape[:2], self.model.config.input)
        views = list(self._views(image))
        merged = self._merge([view.to_frame(frame) for view in views])
        outputs = []
        for view in views:
            boxes = view.from_frame(merged["boxes"], frame)
            outputs.append(
                self._describe.predict_on_batch(
                    {"seen": view.seen, "detections": merged | {"boxes": boxes}}
                )
            )
        heads = self.model.roi_heads
        averaged = heads.average(outputs, [view.mirrored for view in views])
        found = {name: ops.convert_to_tensor(value) for name, value in merged.items()}
        found |= heads.decode(averaged, found)
        return {name: ops.convert_to_numpy(value)[0] for name, value in found.items()}

    def _views(self, image: np.ndarray) -> Iterator[_View]:
        for config in self.inputs:
            resized = to_network(image, config)
            for mirrored in self.flips:
                pixels = resized[:, ::-1] if mirrored else resized
                canvas, sizes = pad_to_canvas([pixels], config.pad_multiple)
                found = self._detect.predict_on_batch({"images": canvas, "image_sizes": sizes})
                yield _View(resized.shape[:2], mirrored, found["seen"], found["detections"])

    def _merge(self, found: Sequence[Arrays]) -> Arrays:
        """The model's NMS over the boxes of all views, in one frame: as one view's, (1, D, ...)."""
        box = self.model.roi_heads.box
        every = {name: np.concatenate([one[name][0] for one in found]) for name in found[0]}
        number = len(every["scores"])
        scores = np.full((1, number, box.num_classes), NEVER, np.float32)
        scores[0, np.arange(number), every["classes"]] = np.where(
            every["valid"], every["scores"], NEVER
        )
        kept = grouped_nms(
            ops.convert_to_tensor(every["boxes"][None, :, None]),
            ops.convert_to_tensor(scores),
            box.config.nms_threshold,
            box.config.max_detections,
            box.config.score_threshold,
            max_candidates=number,
            form=box.lowering.nms,
        )
        names = ("boxes", "scores", "classes", "valid")
        return {name: ops.convert_to_numpy(value) for name, value in zip(names, kept)}


class _View(NamedTuple):
    """One look at a picture: a size, mirrored or not."""

    size: tuple[int, int]  # (height, width) of the resized picture
    mirrored: bool
    seen: dict[str, Arrays]  # "features" by level, and how the picture lies on the canvas, "place"
    detections: Arrays  # (1, D, ...), in the frame of the view

    def to_frame(self, size: tuple[int, int]) -> Arrays:
        """The detections in the upright picture resized to `size`."""
        boxes = self._mirror(self.detections["boxes"])
        return self.detections | {"boxes": boxes * _scale(self.size, size)}

    def from_frame(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (1, D, 4) of that picture in the frame of the view."""
        return self._mirror(boxes * _scale(size, self.size))

    def _mirror(self, boxes: np.ndarray) -> np.ndarray:
        if not self.mirrored:
            return boxes
        x1, y1, x2, y2 = np.moveaxis(boxes, -1, 0)
        width = np.float32(self.size[1])
        return np.stack([width - x2, y1, width - x1, y2], axis=-1)


def _scale(size: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Factors (4,) that take xyxy boxes from a picture of `size` to the same one of `target`."""
    height, width = np.array(target, np.float32) / np.array(size, np.float32)
    return np.array([width, height, width, height], np.float32)


class _Detect(keras.Model):
    """{"images", "image_sizes"} -> {"seen", "detections"}: boxes only."""

    def __init__(self, model: GeneralizedRCNN, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self.built = True

    def call(self, inputs):
        model = self.model
        placed = model.placement(inputs["images"], inputs["image_sizes"])
        features = model.neck(model.backbone(model.normalize(placed.images, placed.content)))
        proposals = model.rpn(features, placed.images, placed.proposal_limits)
        found = model.roi_heads.detect(features, proposals, placed.detection_limits)
        place = placed._asdict()
        del place["images"]
        return {
            "seen": {"features": features, "place": place},
            "detections": model.placement.leave(found, placed),
        }


class _Describe(keras.Model):
    """{"seen", "detections"} -> what each branch says, by name."""

    def __init__(self, model: GeneralizedRCNN, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self.built = True

    def call(self, inputs):
        seen, model = inputs["seen"], self.model
        detections = model.placement.enter(
            inputs["detections"], Placed(images=None, **seen["place"])
        )
        return model.roi_heads.describe(seen["features"], detections)
