"""`Detections` in the forms other tools read: COCO results, plain JSON, LabelMe, supervision."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmrcnn.data.files import written_aside
from kmrcnn.structures.masks import mask_to_polygons, mask_to_rle

if TYPE_CHECKING:
    import supervision

    from kmrcnn.structures.detections import Detection, Detections

LABELME_VERSION = "5.5.0"  # of the file format


def coco_results(detections: Detections, image_id: int) -> list[dict[str, Any]]:
    """Lists the detections as COCO results, see `Detections.to_coco`."""
    results = []
    for one in detections:
        x1, y1, x2, y2 = (float(side) for side in one.box)
        result = {
            "image_id": image_id,
            "category_id": one.category_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": one.score,
        }
        if one.mask is not None:
            result["segmentation"] = mask_to_rle(one.mask)
        results.append(result)
    return results


def plain_dict(detections: Detections) -> dict[str, Any]:
    """Gives the detections as plain values, see `Detections.to_dict`."""
    return {
        "source": None if detections.source is None else str(detections.source),
        "image_size": list(detections.image_size),
        "class_names": None if detections.class_names is None else list(detections.class_names),
        "detections": [_plain_detection(one) for one in detections],
    }


def write_labelme(
    detections: Detections,
    path: str | Path,
    image_path: str | Path | None = None,
    tolerance: float = 1.0,
) -> Path:
    """Writes a LabelMe file, see `Detections.to_labelme`."""
    image_path = image_path or detections.source
    if image_path is None:
        raise ValueError(
            "A LabelMe file names its picture: give `image_path`, this one has no `source`."
        )
    path = Path(path)
    height, width = detections.image_size
    document = {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            shape
            for number, one in enumerate(detections)
            for shape in _labelme_shapes(one, number, tolerance)
        ],
        "imagePath": _relative(Path(image_path), path.parent),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def supervision_detections(detections: Detections) -> supervision.Detections:
    """Converts to the class of the supervision package, see `Detections.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise ImportError("This needs the supervision package: pip install supervision") from error
    return supervision.Detections(
        xyxy=detections.boxes,
        mask=detections.masks,
        confidence=detections.scores,
        class_id=detections.classes.astype(int),
        data={"class_name": np.array(detections.names, dtype=str)},
    )


def _plain_detection(one: Detection) -> dict[str, Any]:
    plain = {
        "class_id": one.class_id,
        "class_name": one.name,
        "category_id": one.category_id,
        "score": one.score,
        "box": [float(side) for side in one.box],
    }
    if one.mask is not None:
        plain["segmentation"] = mask_to_rle(one.mask)
    return plain


def _labelme_shapes(one: Detection, number: int, tolerance: float) -> list[dict[str, Any]]:
    """One shape per part of a mask, tied together by `group_id`; the box where there is no mask."""
    polygons = [] if one.mask is None else mask_to_polygons(one.mask, tolerance)
    kind = "polygon" if polygons else "rectangle"
    return [
        {
            "label": one.name,
            "points": [[round(float(x), 2), round(float(y), 2)] for x, y in points],
            "group_id": number,
            "description": f"score {one.score:.3f}",
            "shape_type": kind,
            "flags": {},
            "mask": None,
        }
        for points in polygons or [one.box.reshape(2, 2)]
    ]


def _relative(image_path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(image_path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return image_path.resolve().as_posix()
