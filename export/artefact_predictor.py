"""Exported models behind the interface of `Predictor`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kmrcnn.config.loader import from_dict
from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.images import read_image
from kmrcnn.data.preprocess import canvas_size, network_size
from kmrcnn.export import metadata
from kmrcnn.export.canvas import to_canvas
from kmrcnn.export.formats import FORMATS
from kmrcnn.postprocess.to_original import to_original_frame
from kmrcnn.structures.detections import Detections


class ArtefactPredictor:
    """Runs an exported model on pictures of any size.

    Args:
        folder: What `export` wrote.
        score_threshold: Detections must score at least this; the artefact's own threshold applies
            before.

    Example:
        >>> predictor = ArtefactPredictor("model_onnx")
        >>> predictor.predict("street.jpg").boxes
    """

    def __init__(self, folder: str | Path, score_threshold: float = 0.5):
        self.metadata = metadata.read(folder)
        self.config = from_dict(ModelConfig, self.metadata["config"])
        self.score_threshold = score_threshold
        image_size = self.metadata.get("image_size")
        self.image_size = None if image_size is None else tuple(image_size)
        self._run = (
            FORMATS[self.metadata["format"]].load().open_artefact(Path(folder), self.metadata)
        )

    def predict(
        self, pictures: str | Path | np.ndarray | Iterable
    ) -> Detections | list[Detections]:
        """`Detections` in the pixels of the original picture; a list of them for several."""
        if not isinstance(pictures, (str, Path, np.ndarray)):
            return [self.predict(picture) for picture in pictures]
        image, source = pictures, None
        if not isinstance(pictures, np.ndarray):
            image, source = read_image(pictures, self.config.input.channels), Path(pictures)
        canvas, size = self.to_canvas(image)
        outputs = self.run(canvas[None], size[None])
        one = {name: value[0] for name, value in outputs.items()}
        one["valid"] = np.arange(len(one["scores"])) < one.pop("num_detections")
        found = to_original_frame(
            one, size, image.shape[:2], self.config.mask, self.score_threshold
        )
        return Detections(
            **found,
            image_size=image.shape[:2],
            class_names=self.config.class_names,
            category_ids=self.config.category_ids,
            source=source,
        )

    def to_canvas(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A picture in the network frame: (H, W, C) float32 RGB, and its (height, width)."""
        size = self.image_size
        if size is None:
            size = canvas_size(
                network_size(image.shape[:2], self.config.input), self.config.input.pad_multiple
            )
        return to_canvas(image, self.config.input, size)

    def run(self, images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        """The artefact itself: see `ServingModule.detect`."""
        return self._run(images, image_sizes)
