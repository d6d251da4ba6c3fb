"""Does an artefact find what its model finds? Both run on the same pictures, on the same canvas."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.images import decode_image, find_images
from kmrcnn.export import metadata
from kmrcnn.export.artefact_predictor import ArtefactPredictor
from kmrcnn.export.average_precisions import AveragePrecisions
from kmrcnn.export.bytes_signature import can_decode, open_bytes_signature
from kmrcnn.export.canvas_predictor import CanvasPredictor, Run
from kmrcnn.export.comparison import Comparison
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.tolerances import TOLERANCES, Tolerance
from kmrcnn.export.verification_report import Latency, VerificationReport
from kmrcnn.predictor import Predictor, load_picture
from kmrcnn.structures.lowering import NATIVE


def verify(
    artefact: str | Path,
    model: Any,
    pictures: str | Path | Sequence[Any],
    annotations: Any = None,
    *,
    limit: int | None = None,
    score_floor: float = 0.1,
    tolerance: Tolerance | None = None,
    progress: bool = True,
) -> VerificationReport:
    """Compares an exported model with the Keras model it was made from.

    The Keras side has the thresholds of the artefact and gets the very canvas that the artefact
    gets, so that only the format and its precision differ. Where the artefact reads encoded
    pictures itself, that way is compared with `Predictor` on the same files.

    Args:
        artefact: The folder that `export` wrote; verification.json and verification.md are put
            there.
        model: The model that was exported.
        pictures: A folder of pictures, taken by name; or files and arrays.
        annotations: A dataset of `open_dataset`, or the path of one whose pictures lie in the
            folder `pictures`: box and mask AP of both sides are compared too.
        limit: Only the first so many pictures.
        score_floor: Detections from this score on are compared, see `Comparison`.
        tolerance: None: that of the artefact's precision in `TOLERANCES`.
        progress: Show a bar.

    Returns:
        The report; `report.passed` says whether all is within the tolerance.

    Raises:
        ValueError: The artefact was made of other weights, or there are no pictures.
        FileNotFoundError: The folder holds no exported model.
        ImportError: The package that runs the format is missing.

    Example:
        >>> print(kmrcnn.export.verify("model_onnx", model, "photos", limit=20))
    """
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1. Received: {limit}")
    if not 0.0 <= score_floor <= 1.0:
        raise ValueError(f"`score_floor` must be in [0, 1]. Received: {score_floor}")
    _require_same_weights(artefact, model)
    dataset = None if annotations is None else _first(_dataset(annotations, pictures), limit)
    chosen = _listed(pictures)[:limit] if dataset is None else dataset.records
    if not len(chosen):
        raise ValueError(f"There are no pictures to verify with. Received: {pictures!r}")
    found = ArtefactPredictor(artefact, score_threshold=0.0)
    tolerance = tolerance or TOLERANCES[found.metadata["precision"]]
    run = _Run(found, _same_detection(model, found.config), dataset, tolerance, score_floor)
    for picture in _with_bar(_read_all(chosen, found.config), len(chosen), progress):
        run.compare(picture)
    report = run.report()
    report.write(artefact)
    return report


class _Picture(NamedTuple):
    """One picture, and what else is known of it."""

    image: np.ndarray  # (H, W, C) uint8, or float32
    data: bytes | None = None  # of its file
    image_id: int | str | None = None  # in the dataset


class _Run:
    """Both sides, and what is collected while the pictures pass."""

    def __init__(
        self,
        found: ArtefactPredictor,
        model: Any,
        dataset: Any,
        tolerance: Tolerance,
        score_floor: float,
    ):
        floor = max(score_floor, found.config.box.score_threshold + tolerance.score)
        self.found = found
        self.reference = CanvasPredictor(_keras_run(model), found.config, found.image_size, 0.0)
        self.comparison = Comparison(tolerance, floor)
        self.scores = None if dataset is None else AveragePrecisions(dataset, found.config)
        self.latency = Latency()
        self.seen_canvases: set[tuple[int, ...]] = set()
        self.detect_in_file = open_bytes_signature(found.folder, found.metadata, found.config)
        self.predictor = Predictor(model, score_threshold=0.0)
        self.files = Comparison(tolerance, floor)

    def compare(self, picture: _Picture) -> None:
        """Runs both sides on a picture and takes down how they differ."""
        size = picture.image.shape[:2]
        canvas, content = self.found.to_canvas(picture.image)
        theirs, ours = self._run_both(canvas[None], content[None])
        is_full = int(theirs["num_detections"][0]) == theirs["scores"].shape[1]
        reference = self.reference.to_detections(theirs, content, size)
        found = self.found.to_detections(ours, content, size)
        self.comparison.add(reference, found, is_full)
        if self.scores is not None:
            self.scores.add(picture.image_id, reference, found)
        if self.detect_in_file and picture.data is not None and can_decode(picture.data):
            found = self.detect_in_file(picture.data, size)
            self.files.add(self.predictor.predict(picture.image), found, is_full)

    def _run_both(self, *inputs: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
        """Outputs of the model and of the artefact, timed."""
        if inputs[0].shape not in self.seen_canvases:  # runtimes prepare themselves for a size
            self.seen_canvases.add(inputs[0].shape)
            self.reference.run(*inputs)
            self.found.run(*inputs)
        theirs, their_time = _timed(self.reference.run, *inputs)
        ours, our_time = _timed(self.found.run, *inputs)
        self.latency.add(their_time, our_time)
        return theirs, ours

    def report(self) -> VerificationReport:
        """What came out."""
        return VerificationReport(
            metadata=self.found.metadata,
            comparison=self.comparison,
            files=self.files if self.files.num_pictures else None,
            average_precisions=None if self.scores is None else self.scores.figures(),
            latency=self.latency,
            megabytes=sum(self.found.metadata["files"].values()) / 1e6,
        )


def _require_same_weights(artefact: str | Path, model: Any) -> None:
    if not hasattr(model, "config"):
        raise ValueError(f"`model` must be a kmrcnn model. Received: {type(model).__name__}")
    theirs, ours = metadata.read(artefact)["weights_sha256"], metadata.weights_sha256(model)
    if theirs != ours:
        raise ValueError(
            f"{str(artefact)!r} was exported from other weights than those of `model`. "
            f"Received: weights_sha256 {theirs[:12]}... and {ours[:12]}..."
        )


def _same_detection(model: Any, config: ModelConfig) -> Any:
    """The model with the thresholds of the artefact, in Keras's own forms."""
    if config == model.config:
        return model
    return lowered_model(
        model,
        NATIVE,
        score_threshold=config.box.score_threshold,
        nms_threshold=config.box.nms_threshold,
        max_detections=config.box.max_detections,
    )


def _keras_run(model: Any) -> Run:
    """`ServingModule.detect` by the Keras model itself."""

    def run(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        if model.config.input.channel_order == "bgr":
            images = images[..., ::-1]
        found = model.predict_on_batch({"images": images, "image_sizes": image_sizes})
        found = {name: np.asarray(value) for name, value in found.items()}
        found.pop("keypoint_heatmaps", None)
        return found | {"num_detections": found.pop("valid").sum(axis=1, dtype=np.int32)}

    return run


def _timed(run: Callable, *inputs) -> tuple[dict[str, np.ndarray], float]:
    """The result and the seconds it took."""
    start = time.perf_counter()
    outputs = run(*inputs)
    return outputs, time.perf_counter() - start


def _dataset(annotations: Any, pictures: Any) -> Any:
    if not isinstance(annotations, (str, Path)):
        return annotations
    from kmrcnn.data.datasets import open_dataset

    return open_dataset(annotations, pictures)


def _first(dataset: Any, limit: int | None) -> Any:
    return dataset if limit is None else dataset.subset(range(min(limit, len(dataset))))


def _listed(pictures: str | Path | Sequence[Any]) -> list[Any]:
    """Files and arrays, folders opened."""
    if isinstance(pictures, (str, Path)):
        return find_images(pictures)
    return list(pictures)


def _read_all(chosen: Iterable[Any], config: ModelConfig) -> Iterator[_Picture]:
    """Reads files, arrays and records of a dataset, one at a time."""
    for one in chosen:
        if isinstance(one, np.ndarray):
            yield _Picture(load_picture(one, config.input)[0])
        elif isinstance(one, (str, Path)):
            yield _Picture(load_picture(one, config.input)[0], Path(one).read_bytes())
        else:
            data = one.read_bytes()
            image = decode_image(data, f"The picture {one.image_id!r}", config.input.channels)
            yield _Picture(image, data, one.image_id)


def _with_bar(pictures: Iterable[_Picture], number: int, progress: bool) -> Iterable[_Picture]:
    from tqdm import tqdm

    return tqdm(pictures, "verify", number, unit="image", disable=not progress, file=sys.stderr)
