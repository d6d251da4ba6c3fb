"""`Detections` in the forms other tools read: COCO results, plain JSON, LabelMe, supervision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmrcnn.data.files import written_aside

if TYPE_CHECKING:
    import supervision

    from kmrcnn.structures.detections import Detection, Detections
    from kmrcnn.structures.keypoint_layout import KeypointLayout
    from kmrcnn.structures.mask_crop import MaskCrop

LABELME_VERSION = "5.5.0"  # of the file format


def coco_results(detections: Detections, image_id: int) -> list[dict[str, Any]]:
    """Lists the detections as COCO results, see `Detections.to_coco`."""
    results = []
    for one, mask in _with_crops(detections):
        x1, y1, x2, y2 = (float(side) for side in one.box)
        result = {
            "image_id": image_id,
            "category_id": one.category_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": one.score,
        }
        if mask is not None:
            result["segmentation"] = mask.to_rle(detections.image_size)
        if one.keypoints is not None:
            result["keypoints"] = _coco_keypoints(one.keypoints, detections.keypoint_layout)
        results.append(result)
    return results


def plain_dict(detections: Detections) -> dict[str, Any]:
    """Gives the detections as plain values, see `Detections.to_dict`."""
    plain = {
        "source": None if detections.source is None else str(detections.source),
        "image_size": list(detections.image_size),
        "class_names": None if detections.class_names is None else list(detections.class_names),
    }
    if detections.keypoints is not None:
        layout = detections.keypoint_layout
        names = None if layout is None else layout.names
        plain["keypoint_names"] = None if names is None else list(names)
    return plain | {
        "detections": [
            _plain_detection(one, mask, detections.image_size)
            for one, mask in _with_crops(detections)
        ],
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
            for number, (one, mask) in enumerate(_with_crops(detections))
            for shape in _labelme_shapes(one, mask, number, tolerance)
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
        mask=None if detections.masks is None else np.asarray(detections.masks),
        confidence=detections.scores,
        class_id=detections.classes.astype(int),
        data={"class_name": np.array(detections.names, dtype=str)},
    )


def _with_crops(detections: Detections) -> Iterator[tuple[Detection, MaskCrop | None]]:
    """Yields each detection, without its full mask, and the mask in its window."""
    return zip(replace(detections, masks=None), detections.mask_crops())


def _plain_detection(
    one: Detection, mask: MaskCrop | None, image_size: tuple[int, int]
) -> dict[str, Any]:
    plain = {
        "class_id": one.class_id,
        "class_name": one.name,
        "category_id": one.category_id,
        "score": one.score,
        "box": [float(side) for side in one.box],
    }
    if mask is not None:
        plain["segmentation"] = mask.to_rle(image_size)
    if one.keypoints is not None:
        plain["keypoints"] = one.keypoints.astype(float).tolist()
    return plain


def _coco_keypoints(keypoints: np.ndarray, layout: KeypointLayout | None) -> list[float]:
    """x0, y0, score0, x1, ... in the numbers of COCO's files."""
    offset = 0.0 if layout is None else layout.annotation_offset
    return (keypoints.astype(float) - [offset, offset, 0]).ravel().tolist()


def _labelme_shapes(
    one: Detection, mask: MaskCrop | None, number: int, tolerance: float
) -> list[dict[str, Any]]:
    """One shape per part of a mask, tied together by `group_id`; the box where there is no mask."""
    polygons = [] if mask is None else mask.to_polygons(tolerance)
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
