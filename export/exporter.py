"""One function from a model to a folder that another runtime can use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmrcnn.data.files import folder_written_aside
from kmrcnn.export import metadata
from kmrcnn.export.canvas import default_canvas
from kmrcnn.export.formats import FORMATS
from kmrcnn.export.lowered_model import changed_config
from kmrcnn.export.options import ExportOptions


def export(
    model: Any,
    path: str | Path,
    *,
    format: str = "saved_model",
    precision: str = "float32",
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    max_detections: int | None = None,
    paste_masks: bool = False,
    custom_op: bool = False,
    calibration_images: str | Path | Sequence[Any] | None = None,
    version: int = 1,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a folder: the files of the format and a metadata.json.

    Args:
        model: A `GeneralizedRCNN`, as `kmrcnn.load_model` gives it.
        path: The folder to make. It appears when it is complete.
        format: A key of `FORMATS`.
        precision: "float32", or one of the format's others.
        image_size: (height, width) of the pictures in the network frame, multiples of the model's
            `pad_multiple`; formats of fixed size only. None: the model's short side and long side.
        batch_size: None: any where the format can, else 1.
        score_threshold: Detections score more; None: the model's own, as for the next two.
        nms_threshold: Overlap (IoU) above which the weaker box of a class goes.
        max_detections: D, slots per picture.
        paste_masks: SavedModel only: masks as (B, D, H, W) uint8 in pixels of the picture.
        custom_op: SavedModel only: RoIAlign by the compiled op, for hosts that load its library.
        calibration_images: For int8: a folder of pictures, or their paths.
        version: SavedModel only: the number of the folder that TF Serving looks for.
        overwrite: Replace the folder if it is empty or holds an exported model.

    Returns:
        The path.

    Raises:
        ValueError: An argument is wrong, or does not go with the format.
        FileExistsError: The folder exists, or is not ours to replace.
        OSError: It cannot be written, or the disk is full; nothing is left behind.
        ImportError: A package of the format is missing; the message has the pip line.

    Example:
        >>> model = kmrcnn.load_model("maskrcnn_resnet50_fpn", weights="coco")
        >>> kmrcnn.export.export(model, "model_onnx", format="onnx", image_size=(736, 1280))
    """
    options = ExportOptions(
        precision=precision,
        image_size=image_size,
        batch_size=batch_size,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
        paste_masks=paste_masks,
        custom_op=custom_op,
        calibration_images=calibration_images,
        version=version,
    )
    options = _settle(model, format, options)
    require_free(path, overwrite)
    writer = FORMATS[format].load()
    config = changed_config(model.config, **options.detection_changes())
    with _named_in_errors(path), folder_written_aside(path, overwrite) as folder:
        particulars = writer.write(model, folder, options)
        common = metadata.describe(model, config, format, precision)
        metadata.write(folder, common | particulars)
    return Path(path)


def require_free(path: str | Path, overwrite: bool) -> None:
    """Checks that an artefact may be written to a folder.

    Raises:
        FileExistsError: It exists and `overwrite` is False, or it is not a folder, or it holds
            other things than an exported model.
        NotADirectoryError: It would lie in a file.
        PermissionError: It would lie in a folder that may not be written.
    """
    path = Path(path)
    if not path.exists():
        _require_place(path)
        return
    if not path.is_dir():
        raise FileExistsError(f"{str(path)!r} exists; it is not a folder.")
    if not overwrite:
        raise FileExistsError(f"{str(path)!r} exists; --overwrite (overwrite=True) replaces it.")
    if any(path.iterdir()) and not (path / metadata.FILE_NAME).is_file():
        raise FileExistsError(
            f"{str(path)!r} holds other things than an exported model; it is not replaced."
        )


def _require_place(path: Path) -> None:
    """Checks that a folder can be made: found before a model is converted for minutes."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{str(path)!r} cannot be made: {str(above)!r} is a file.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{str(path)!r} cannot be made: {str(above)!r} may not be written.")


@contextmanager
def _named_in_errors(path: str | Path) -> Iterator[None]:
    """Failures of writing as OSErrors that name the artefact, also those of TensorFlow's writer."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{str(path)!r} could not be written: {_reason(error)}") from error
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _reason(error: tf.errors.OpError) -> str:
    """The message without the names of nodes and of the temporary file."""
    message = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", error.message.splitlines()[0])
    return message.rpartition(";")[2].strip()


def _settle(model: Any, format: str, options: ExportOptions) -> ExportOptions:
    """The options with what follows from the format, or a ValueError."""
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {list(FORMATS)}. Received: {format!r}")
    if not hasattr(model, "config"):
        raise ValueError(f"`model` must be a kmrcnn model. Received: {type(model).__name__}")
    spec = FORMATS[format]
    if options.precision not in spec.precisions:
        raise ValueError(
            f"`precision` of {format} must be one of {spec.precisions}. "
            f"Received: {options.precision!r}"
        )
    _require_owner(format, options)
    if not spec.fixed_size:
        if options.image_size is not None:
            raise ValueError(f"{format} takes pictures of any size. Received: `image_size`")
        return options
    size = options.image_size or default_canvas(model.config.input)
    multiple = model.config.input.pad_multiple
    if any(side % multiple for side in size):
        raise ValueError(f"`image_size` must be multiples of {multiple}. Received: {tuple(size)}")
    return options.replaced(image_size=tuple(size))


def _require_owner(format: str, options: ExportOptions) -> None:
    """Options of other formats and precisions are an error, not ignored."""
    for name, default in (("paste_masks", False), ("custom_op", False), ("version", 1)):
        value = getattr(options, name)
        if format != "saved_model" and value != default:
            raise ValueError(f"`{name}` is for saved_model. Received: {value!r}, for {format}")
    calibrated = options.calibration_images is not None
    if options.precision == "int8" and not calibrated:
        raise ValueError("precision='int8' needs `calibration_images`. Received: None")
    if calibrated and options.precision != "int8":
        raise ValueError(
            f"`calibration_images` are for precision='int8'. Received: {options.precision!r}"
        )
