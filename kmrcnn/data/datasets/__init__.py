"""Datasets in the formats that annotation tools and benchmarks write: `open_dataset` reads any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmrcnn.data.datasets.annotation_files import read_json
from kmrcnn.data.datasets.cityscapes import is_cityscapes, load_cityscapes
from kmrcnn.data.datasets.coco import is_coco, load_coco
from kmrcnn.data.datasets.labelme import is_labelme, load_labelme
from kmrcnn.data.datasets.lvis import is_lvis, load_lvis
from kmrcnn.data.datasets.png_masks import is_png_masks, load_png_masks
from kmrcnn.data.datasets.tfrecord import is_tfrecord, load_tfrecord
from kmrcnn.data.datasets.via import is_via, load_via
from kmrcnn.data.datasets.voc import is_voc, load_voc
from kmrcnn.data.datasets.yolo import is_yolo, load_yolo
from kmrcnn.data.records import AnnotatedImages


@dataclass(frozen=True)
class Format:
    """How a format is told from others, and read.

    Attributes:
        load: Its adapter.
        is_path: Whether a path is of this format, by what is there.
        is_document: Whether the content of a JSON file is of this format.
        has_images: Whether the adapter takes `images`.
        has_splits: Whether the adapter takes `split`.
    """

    load: Callable[..., AnnotatedImages]
    is_path: Callable[[Path], bool] | None = None
    is_document: Callable[[Any], bool] | None = None
    has_images: bool = True
    has_splits: bool = False


# In the order in which they are tried: the more particular first.
FORMATS: dict[str, Format] = {
    "tfrecord": Format(load_tfrecord, is_path=is_tfrecord, has_images=False),
    "lvis": Format(load_lvis, is_document=is_lvis),
    "coco": Format(load_coco, is_document=is_coco),
    "labelme": Format(load_labelme, is_document=is_labelme),
    "via": Format(load_via, is_document=is_via),
    "voc": Format(load_voc, is_path=is_voc, has_splits=True),
    "cityscapes": Format(load_cityscapes, is_path=is_cityscapes, has_splits=True),
    "yolo": Format(load_yolo, is_path=is_yolo, has_splits=True),
    "png_masks": Format(load_png_masks, is_path=is_png_masks),
}


def open_dataset(
    source: str | Path,
    images: str | Path | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads a dataset of any format.

    What cannot be used (a broken record, a missing picture, a box without area, ...) is left out
    and listed in `problems` of the result.

    Args:
        source: A JSON file (COCO, LVIS, VIA, LabelMe), a folder (LabelMe, Pascal VOC, Cityscapes,
            YOLO, pictures and PNG masks, TFRecord shards; or one that holds a single COCO or VIA
            file), a list of Pascal VOC's or a `data.yaml`.
        images: Folder of the pictures, where they are not in their usual place.
        format: A name out of `FORMATS`; None finds out.
        split: Part of the dataset, for formats that have parts ("voc", "cityscapes", "yolo").
        class_names: Classes in the order of their numbers. Give training and validation data the
            same ones where the format has no list of its own (VIA, LabelMe, Pascal VOC).

    Returns:
        The dataset.

    Raises:
        OSError: A file cannot be read.
        ValueError: The format is unknown or not recognised, or a whole file is unusable.

    Example:
        >>> dataset = open_dataset("balloon/train/via_region_data.json", class_names=["balloon"])
        >>> print(dataset.report())
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if format is None:
        format, path = _recognise(path)
    elif format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}. Received: {format!r}")
    chosen = FORMATS[format]
    options: dict[str, Any] = {"class_names": class_names}
    if images is not None:
        _require(chosen.has_images, f"The format {format} takes no `images`.")
        options["images"] = images
    if split is not None:
        _require(chosen.has_splits, f"The format {format} has no splits: give the one file.")
        options["split"] = split
    return chosen.load(path, **options)


def _recognise(path: Path) -> tuple[str, Path]:
    """Name of the format, and the file or folder to read."""
    for name, candidate in FORMATS.items():
        if candidate.is_path is not None and candidate.is_path(path):
            return name, path
    if path.is_file() and path.suffix.lower() == ".json":
        return _recognise_document(path), path
    if path.is_dir():
        found = _recognise_folder(path)
        if found is not None:
            return found
    raise ValueError(
        f"{path} is not recognised as a dataset. Known formats: {', '.join(FORMATS)}; "
        "say which with `format`."
    )


def _recognise_document(path: Path) -> str:
    document = read_json(path)
    for name, candidate in FORMATS.items():
        if candidate.is_document is not None and candidate.is_document(document):
            return name
    raise ValueError(
        f"{path} is JSON, but of none of the formats "
        f"{', '.join(name for name, one in FORMATS.items() if one.is_document)}."
    )


def _recognise_folder(folder: Path) -> tuple[str, Path] | None:
    """A folder of LabelMe files, or the only COCO, LVIS or VIA file in a folder."""
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.glob("*.json")) or sorted(folder.glob("*/*.json")):
        try:
            found.append((_recognise_document(path), path))
        except (OSError, ValueError):
            continue
        if found[-1][0] == "labelme":
            return "labelme", folder
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for _, path in found)
        raise ValueError(f"{folder} holds several datasets: give one of {names}.")
    return found[0] if found else None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
