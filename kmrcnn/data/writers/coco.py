"""Datasets to COCO JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.files import written_aside
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import AnnotatedImages, Instance, Problem, Record
from kmrcnn.data.writers.pictures import PictureFiles, relative_name
from kmrcnn.structures.masks import mask_to_rle

_DECIMALS = 4  # of a pixel; hides the rounding of x + width - x


def write_coco(
    dataset: AnnotatedImages, path: str | Path, *, overwrite: bool = False
) -> list[Problem]:
    """Writes a dataset as COCO JSON.

    Category ids are kept; so are image and annotation ids where all are integers and different,
    else they are counted from 1. Polygons stay polygons and run lengths stay run lengths. Pictures
    stay where they are, named relative to the JSON file; those without a file of their own are
    written to `<name>_images` beside it.

    Args:
        dataset: What to write.
        path: The JSON file.
        overwrite: Replace the file if it exists.

    Returns:
        The pictures that were left out, and why.

    Raises:
        FileExistsError: The file exists.
        OSError: It cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists.")
    pictures = PictureFiles(path.parent / f"{path.stem}_images")
    image_ids = _integer_ids([record.image_id for record in dataset.records])
    instances = [one for record in dataset.records for one in record.instances]
    annotation_ids = iter(_integer_ids([one.annotation_id for one in instances]))
    images, annotations, problems = [], [], []
    bar = tqdm(zip(image_ids, dataset.records), total=len(dataset), leave=False, disable=None)
    for image_id, record in bar:
        numbers = [next(annotation_ids) for _ in record.instances]
        try:
            size = record.read_size()
            file_name = relative_name(pictures.path_of(record), path.parent)
        except (OSError, ValueError) as error:
            problems.append(Problem("unreadable-image", str(error), record.image_id))
            continue
        height, width = size
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        annotations += _annotations(record, image_id, numbers, size, dataset)
    document = {
        "info": {"description": dataset.name},
        "images": images,
        "annotations": annotations,
        "categories": _categories(dataset),
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return problems


def _integer_ids(ids: list[Any]) -> list[int]:
    usable = all(type(one) is int for one in ids) and len(set(ids)) == len(ids)
    return ids if usable else list(range(1, len(ids) + 1))


def _categories(dataset: AnnotatedImages) -> list[dict[str, Any]]:
    keypoints = {"keypoints": list(dataset.keypoint_names), "skeleton": []}
    return [
        {"id": number, "name": name, **(keypoints if dataset.keypoint_names else {})}
        for number, name in zip(dataset.category_ids, dataset.class_names)
    ]


def _annotations(
    record: Record,
    image_id: int,
    numbers: Iterable[int],
    size: tuple[int, int],
    dataset: AnnotatedImages,
) -> list[dict[str, Any]]:
    annotations = []
    for number, one in zip(numbers, record.instances):
        x1, y1, x2, y2 = one.box
        annotation = {
            "id": number,
            "image_id": image_id,
            "category_id": dataset.category_ids[one.class_index],
            "bbox": [round(value, _DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)],
            "area": one.area if one.area is not None else _area(one, size),
            "iscrowd": int(one.is_crowd),
            "segmentation": _segmentation(one, size),
        }
        if dataset.keypoint_names:
            keypoints = one.keypoints
            if keypoints is None:
                keypoints = np.zeros((len(dataset.keypoint_names), 3))
            annotation["keypoints"] = _plain_keypoints(keypoints)
            annotation["num_keypoints"] = int((keypoints[:, 2] > 0).sum())
        annotations.append(annotation)
    return annotations


def _area(one: Instance, size: tuple[int, int]) -> float:
    """Pixels of the mask, else of the box."""
    if one.segmentation is not None:
        return float(decode_mask(one.segmentation, size).bitmap.sum())
    x1, y1, x2, y2 = one.box
    return round((x2 - x1) * (y2 - y1), _DECIMALS)


def _segmentation(one: Instance, size: tuple[int, int]) -> Any:
    segmentation = one.segmentation
    if segmentation is None:
        return []
    if isinstance(segmentation, MaskCrop):
        return mask_to_rle(decode_mask(segmentation, size).to_full(size))
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return {"size": [int(side) for side in segmentation["size"]], "counts": counts}
    return [polygon.reshape(-1).tolist() for polygon in segmentation]


def _plain_keypoints(keypoints: np.ndarray) -> list[float | int]:
    """Flat x, y, visibility; whole numbers without a decimal point, as COCO writes them."""
    values = (float(str(np.float32(value))) for value in keypoints.reshape(-1))
    return [int(value) if value.is_integer() else value for value in values]
