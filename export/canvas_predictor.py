"""A function of the network frame behind the interface of `Predictor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.preprocess import canvas_size, network_size
from kmrcnn.export.canvas import to_canvas
from kmrcnn.postprocess.to_original import to_original_frame
from kmrcnn.predictor import Picture, load_picture
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.keypoint_layout import KeypointLayout

Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class CanvasPredictor:
    """Runs what computes detections on a canvas, on pictures of any size.

    Args:
        run: Images (B, H, W, C) float32 and image sizes (B, 2) int32 to the outputs of
            `ServingModule.detect` as NumPy arrays.
        config: Of the model.
        image_size: (height, width) of the only canvas that `run` takes; None: any.
        score_threshold: Detections must score at least this.
    """

    def __init__(
        self,
        run: Run,
        config: ModelConfig,
        image_size: tuple[int, int] | None = None,
        score_threshold: float = 0.5,
    ):
        if not 0.0 <= score_threshold <= 1.0:
            raise ValueError(f"`score_threshold` must be in [0, 1]. Received: {score_threshold}")
        self.run = run
        self.config = config
        self.image_size = None if image_size is None else tuple(image_size)
        self.score_threshold = score_threshold

    def predict(self, pictures: Picture | Iterable[Picture]) -> Detections | list[Detections]:
        """`Detections` in the pixels of the original picture; a list of them for several."""
        if not isinstance(pictures, (str, np.ndarray)) and isinstance(pictures, Iterable):
            return [self.predict(picture) for picture in pictures]
        image, source = load_picture(pictures, self.config.input)
        canvas, size = self.to_canvas(image)
        outputs = self.run(canvas[None], size[None])
        return self.to_detections(outputs, size, image.shape[:2], source)

    def to_canvas(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A picture in the network frame: (H, W, C) float32 RGB, and its (height, width)."""
        size = self.image_size
        if size is None:
            settings = self.config.input
            size = canvas_size(network_size(image.shape[:2], settings), settings.pad_multiple)
        return to_canvas(image, self.config.input, size)

    def to_detections(self, outputs, network_size, original_size, source=None) -> Detections:
        """Outputs for one picture (B = 1), in its own pixels, masks pasted.

        Args:
            outputs: Of `run`.
            network_size: (height, width) of the picture's content on the canvas.
            original_size: (height, width) of the picture.
            source: Its file.
        """
        one = {name: np.asarray(value)[0] for name, value in outputs.items()}
        one["valid"] = np.arange(len(one["scores"])) < one.pop("num_detections")
        found = to_original_frame(
            one,
            network_size,
            original_size,
            self.config.mask,
            self.score_threshold,
            box_ends=self.config.anchors.box_ends,
        )
        return Detections(
            **found,
            image_size=original_size,
            class_names=self.config.class_names,
            category_ids=self.config.category_ids,
            source=source,
            keypoint_layout=KeypointLayout.of(self.config.keypoint),
        )
