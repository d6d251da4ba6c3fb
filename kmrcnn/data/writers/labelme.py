"""Datasets to LabelMe files, to be corrected by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kmrcnn.data.datasets.labelme import CROWD_FLAG, LABELS_FILE
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.files import written_aside
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import AnnotatedImages, Instance, Problem, Record
from kmrcnn.data.writers.pictures import PictureFiles, UniqueNames, relative_name
from kmrcnn.structures.formats import LABELME_VERSION
from kmrcnn.structures.masks import mask_to_polygons

TOLERANCE = 0.5  # pixels


def write_labelme(
    dataset: AnnotatedImages,
    folder: str | Path,
    *,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> list[Problem]:
    """Writes one LabelMe file per picture, and the classes in order to `labels.txt`.

    Polygons are kept as they are, other masks are outlined (holes are filled); parts of one object
    share a `group_id`, an object without mask is a rectangle. Pictures stay where they are; those
    without a file of their own are written into the folder. LabelMe has no place for keypoints,
    areas and ids: they are left out.

    Args:
        dataset: What to write.
        folder: Where to; made if it is not there.
        tolerance: Largest distance in pixels between an outlined mask and its polygon.
        overwrite: Write into a folder that is not empty; other files in it stay.

    Returns:
        The pictures and objects that were left out, and why.

    Raises:
        FileExistsError: The folder is not empty.
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise FileExistsError(f"The folder {folder} is not empty.")
    folder.mkdir(parents=True, exist_ok=True)
    pictures, names = PictureFiles(folder), UniqueNames()
    problems: list[Problem] = []
    for record in tqdm(dataset.records, desc=dataset.name, leave=False, disable=None):
        name = names.take(_stem(record))
        try:
            size = record.read_size()
            picture = pictures.path_of(record)
        except (OSError, ValueError) as error:
            problems.append(Problem("unreadable-image", str(error), record.image_id))
            continue
        shapes = _shapes(record, size, dataset, tolerance, problems)
        document = {
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": relative_name(picture, folder),
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
        }
        _write_text(folder / f"{name}.json", json.dumps(document, indent=2, ensure_ascii=False))
    _write_text(folder / LABELS_FILE, "".join(f"{name}\n" for name in dataset.class_names))
    return problems


def _stem(record: Record) -> str:
    return record.path.stem if record.path is not None else str(record.image_id)


def _write_text(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _shapes(
    record: Record,
    size: tuple[int, int],
    dataset: AnnotatedImages,
    tolerance: float,
    problems: list[Problem],
) -> list[dict[str, Any]]:
    shapes = []
    for number, one in enumerate(record.instances):
        parts = _polygons(one, size, tolerance)
        if one.segmentation is not None and not parts:
            message = "The mask has no pixels in the picture."
            problems.append(Problem("empty-mask", message, record.image_id, one.annotation_id))
            continue
        kind = "polygon" if parts else "rectangle"
        for points in parts or [np.reshape(one.box, (2, 2))]:
            shapes.append(
                {
                    "label": dataset.class_names[one.class_index],
                    "points": points.tolist(),
                    "group_id": number if len(parts) > 1 else None,
                    "description": "",
                    "shape_type": kind,
                    "flags": {CROWD_FLAG: True} if one.is_crowd else {},
                    "mask": None,
                }
            )
    return shapes


def _polygons(one: Instance, size: tuple[int, int], tolerance: float) -> Sequence[np.ndarray]:
    if one.segmentation is None or isinstance(one.segmentation, list):
        return one.segmentation or []
    crop: MaskCrop = decode_mask(one.segmentation, size)
    offset = np.array([crop.left, crop.top])
    return [part + offset for part in mask_to_polygons(crop.bitmap, tolerance, min_area=1)]
