"""Pictures in, detections in their own pixels out. Start reading here.

The path: picture -> network frame (`data/preprocess.py`) -> `models/generalized_rcnn.py` -> back to
the original frame, masks pasted, keypoints found (`postprocess/to_original.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmrcnn.augmented_inference import AugmentedModel, InferenceAugmentation
from kmrcnn.data.images import read_image
from kmrcnn.data.preprocess import canvas_size, network_size, pad_to_canvas, to_network
from kmrcnn.postprocess.to_original import frame_scale, to_original_frame
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.keypoint_layout import KeypointLayout

if TYPE_CHECKING:
    from kmrcnn.config.schema import InputConfig
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
    from kmrcnn.structures.explanation import Explanation

Picture = str | Path | np.ndarray
MIN_SIDE = 2  # pixels; anything smaller is an accident, not a picture


class Predictor:
    """Runs a model on pictures of any size.

    Args:
        model: A model of `kmrcnn.load_model` or `build_model`.
        score_threshold: Detections must score at least this; the model's own threshold applies
            before.
        batch_size: Pictures of a list that are computed together, if they fill the same canvas.
            More than one only pays on a GPU.
        augmentation: Look at every picture in several sizes and mirrored (test-time augmentation),
            one picture at a time.

    Example:
        >>> predictor = kmrcnn.Predictor(kmrcnn.load_model("maskrcnn_resnet50_fpn", weights="coco"))
        >>> detections = predictor.predict("street.jpg")
        >>> detections.boxes, detections.masks
    """

    def __init__(
        self,
        model: GeneralizedRCNN,
        score_threshold: float = 0.5,
        batch_size: int = 1,
        augmentation: InferenceAugmentation | None = None,
    ):
        if not 0.0 <= score_threshold <= 1.0:
            raise ValueError(f"`score_threshold` must be in [0, 1]. Received: {score_threshold}")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}")
        if not hasattr(model, "config"):
            raise ValueError(
                "`model` must be a kmrcnn model: it needs its `config`. "
                f"Received: {type(model).__name__}"
            )
        self.model = model
        self.config = model.config
        self.score_threshold = score_threshold
        self.batch_size = batch_size
        self.augmented = augmentation and AugmentedModel(model, augmentation)

    def predict(self, pictures: Picture | Iterable[Picture]) -> Detections | list[Detections]:
        """Find the objects in one picture or several.

        Args:
            pictures: A path, an array, or an iterable of those. Arrays are (H, W) or (H, W, C), RGB
                where C = 3; an alpha channel is dropped. uint8 or 0-255 floats; uint16 is divided
                by 257.

        Returns:
            `Detections` in the pixels of the original picture; a list of them for several pictures.

        Raises:
            ValueError: A picture is empty, tiny, too elongated, not finite, or of the wrong shape;
                the file is damaged.
            FileNotFoundError: There is no such file.
        """
        if isinstance(pictures, (str, Path, np.ndarray)):
            return self._predict_list([pictures])[0]
        return self._predict_list(list(pictures))

    def explain(self, picture: Picture) -> Explanation:
        """What every stage did: proposals, candidates, what removed them, detections.

        Of the model alone, without `augmentation`.

        Args:
            picture: As in `predict`.

        Returns:
            An `Explanation` in the pixels of the original picture.
            `visualize.debug.draw_explanation` draws it.
        """
        from kmrcnn.postprocess.explain import explain_detections

        image, source = load_picture(picture, self.config.input)
        inputs = self._to_batch([image])
        stages = explain_detections(self.model, inputs)
        detections = self._to_detections(stages.detections, image, inputs["image_sizes"][0], source)
        scale = frame_scale(inputs["image_sizes"][0], image.shape[:2])
        return stages.to_explanation(scale, self.score_threshold, detections)

    def _predict_list(self, pictures: list[Picture]) -> list[Detections]:
        loaded = [load_picture(picture, self.config.input) for picture in pictures]
        if self.augmented:
            return [self._predict_augmented(image, source) for image, source in loaded]
        results: list[Any] = [None] * len(loaded)
        for members in self._batches([image for image, _ in loaded]):
            inputs = self._to_batch([loaded[i][0] for i in members])
            outputs = self.model.predict_on_batch(inputs)
            for row, i in enumerate(members):
                one = {name: np.asarray(value[row]) for name, value in outputs.items()}
                results[i] = self._to_detections(
                    one, loaded[i][0], inputs["image_sizes"][row], loaded[i][1]
                )
        return results

    def _predict_augmented(self, image: np.ndarray, source: Path | None) -> Detections:
        size = network_size(image.shape[:2], self.config.input)
        return self._to_detections(self.augmented.detect(image), image, size, source)

    def _batches(self, images: list[np.ndarray]) -> Iterable[list[int]]:
        """Indices of pictures with the same canvas: the canvas is part of what a network
        computes.
        """
        multiple = self.config.input.pad_multiple
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            size = network_size(image.shape[:2], self.config.input)
            groups.setdefault(canvas_size(size, multiple), []).append(i)
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                yield members[start : start + self.batch_size]

    def _to_batch(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
        resized = [to_network(image, self.config.input) for image in images]
        canvas, sizes = pad_to_canvas(resized, self.config.input.pad_multiple)
        return {"images": canvas, "image_sizes": sizes}

    def _to_detections(self, outputs, image, network_size, source) -> Detections:
        found = to_original_frame(
            outputs,
            network_size,
            image.shape[:2],
            self.config.mask,
            self.score_threshold,
            self.config.keypoint,
            self.config.anchors.box_ends,
        )
        return Detections(
            **found,
            image_size=image.shape[:2],
            class_names=self.config.class_names,
            category_ids=self.config.category_ids,
            source=source,
            keypoint_layout=KeypointLayout.of(self.config.keypoint),
        )


def load_picture(picture: Picture, config: InputConfig) -> tuple[np.ndarray, Path | None]:
    """A picture as `Predictor.predict` takes it, checked.

    Args:
        picture: A path, or an array.
        config: Of the model.

    Returns:
        (H, W, C) uint8, or float32 on the 0-255 scale; and the file it came from.

    Raises:
        ValueError: It is damaged, tiny, too elongated, not finite, or of the wrong shape.
        FileNotFoundError: There is no such file.
    """
    if isinstance(picture, (str, Path)):
        image, source = read_image(picture, config.channels), Path(picture)
    else:
        image, source = _checked_array(picture, config.channels), None
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"A picture needs at least {MIN_SIDE} x {MIN_SIDE} pixels. "
            f"Received: {image.shape[0]} x {image.shape[1]}{f' ({source})' if source else ''}"
        )
    network_size(image.shape[:2], config)  # raises if too elongated
    return image, source


def _checked_array(image: Any, channels: int) -> np.ndarray:
    """(H, W, channels), uint8 or float32 on the 0-255 scale."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.dtype == object:
        raise ValueError(
            "An image array must have shape (H, W) or (H, W, C). "
            f"Received: shape={image.shape}, dtype={image.dtype}. For several pictures pass a list."
        )
    if image.size == 0:
        raise ValueError(f"The image is empty. Received: shape={image.shape}")
    if image.shape[2] == channels + 1 and channels in (1, 3):
        image = image[..., :channels]
    if image.shape[2] == 1 and channels == 3:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        raise ValueError(
            f"The model wants {channels} channels, last. Received: shape={image.shape}. "
            "Are the channels first?"
        )
    return _to_pixel_scale(image)


def _to_pixel_scale(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise ValueError(
            "The image has pixel values that are NaN or infinite. "
            f"Received: {int((~np.isfinite(image)).sum())} of them"
        )
    if image.min() < 0 or image.max() > 255:
        raise ValueError(
            "Pixel values must be in 0..255. "
            f"Received: {image.min():g}..{image.max():g}. Is the image normalised already?"
        )
    if 0 < image.max() <= 1:
        warnings.warn(
            "The image's values are all in 0..1, which is nearly black on the 0-255 scale that is "
            "expected. Multiply it by 255 if it is a float image.",
            stacklevel=5,
        )
    return image
