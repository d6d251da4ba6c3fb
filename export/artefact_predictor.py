"""Exported models behind the interface of `Predictor`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kmrcnn.config.loader import from_dict
from kmrcnn.config.schema import ModelConfig
from kmrcnn.export import metadata
from kmrcnn.export.canvas_predictor import CanvasPredictor, Run
from kmrcnn.export.formats import FORMATS


class ArtefactPredictor(CanvasPredictor):
    """Runs an exported model on pictures of any size.

    Args:
        folder: What `export` wrote.
        score_threshold: Detections must score at least this; the artefact's own threshold applies
            before.

    Raises:
        FileNotFoundError: The folder holds no exported model.
        ValueError: Its metadata is damaged, or its masks are pasted already (`paste_masks`).
        ImportError: The package that runs the format is missing.

    Example:
        >>> predictor = ArtefactPredictor("model_onnx")
        >>> predictor.predict("street.jpg").boxes
    """

    def __init__(self, folder: str | Path, score_threshold: float = 0.5):
        self.folder = Path(folder)
        self.metadata = metadata.read(folder)
        if self.metadata.get("paste_masks"):
            raise ValueError(
                f"{str(folder)!r} was exported with paste_masks=True: its masks are for the "
                "artefact's own clients. Export without it to use it here."
            )
        run = FORMATS[self.metadata["format"]].load().open_artefact(self.folder, self.metadata)
        super().__init__(
            _in_whole_batches(run, self.metadata.get("batch_size")),
            from_dict(ModelConfig, self.metadata["config"]),
            self.metadata.get("image_size"),
            score_threshold,
        )


def _in_whole_batches(run: Run, batch_size: int | None) -> Run:
    """For artefacts of a fixed batch size: any number of pictures, the last one filling up."""
    if batch_size is None:
        return run

    def run_any_number(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        batches = []
        for start in range(0, len(images), batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
            batches.append(run(images[rows], image_sizes[rows]))
        return {
            name: np.concatenate([batch[name] for batch in batches])[: len(images)]
            for name in batches[0]
        }

    return run_any_number
