"""Exported models behind the interface of `Predictor`."""

from __future__ import annotations

from pathlib import Path

from kmrcnn.config.loader import from_dict
from kmrcnn.config.schema import ModelConfig
from kmrcnn.export import metadata
from kmrcnn.export.canvas_predictor import CanvasPredictor
from kmrcnn.export.fixed_batch import in_batches
from kmrcnn.export.formats import FORMATS


class ArtefactPredictor(CanvasPredictor):
    """Runs an exported model on pictures of any size.

    Args:
        folder: What `export` wrote.
        score_threshold: Detections must score at least this; the artefact's own threshold applies
            before.

    Raises:
        FileNotFoundError: The folder holds no exported model.
        ValueError: Its metadata is damaged, or of an unknown format.
        ImportError: The package that runs the format is missing.

    Example:
        >>> predictor = ArtefactPredictor("model_onnx")
        >>> predictor.predict("street.jpg").boxes
    """

    def __init__(self, folder: str | Path, score_threshold: float = 0.5):
        self.folder = Path(folder)
        self.metadata = metadata.read(folder)
        name = self.metadata["format"]
        if name not in FORMATS:
            raise ValueError(f"{str(folder)!r} has an unknown format. Received: {name!r}")
        run = FORMATS[name].load().open_artefact(self.folder, self.metadata)
        super().__init__(
            in_batches(run, self.metadata.get("batch_size")),
            from_dict(ModelConfig, self.metadata["config"]),
            self.metadata.get("image_size"),
            score_threshold,
        )
