"""Tiny COCO files for tests: a picture of 60 x 80 pixels, objects and detections as xyxy boxes."""

from __future__ import annotations

import numpy as np

from kmrcnn.structures.masks import mask_to_rle

SIZE = (60, 80)  # (height, width)


def rectangle(box) -> dict:
    """Run lengths of a filled rectangle with whole-numbered corners."""
    x1, y1, x2, y2 = box
    mask = np.zeros(SIZE, bool)
    mask[y1:y2, x1:x2] = True
    return mask_to_rle(mask)


def xywh(box) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


def coco(*objects, images=(1,), names=("cat", "dog")) -> dict:
    """A COCO file of objects (image id, category id, box, further keys such as iscrowd)."""
    return {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in images],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": xywh(box),
                "area": float((box[2] - box[0]) * (box[3] - box[1])),
                "segmentation": rectangle(box),
                "iscrowd": 0,
                **(more[0] if more else {}),
            }
            for number, (image_id, category_id, box, *more) in enumerate(objects)
        ],
    }


def results(*found) -> list[dict]:
    """COCO results of detections (image id, category id, box, score)."""
    return [
        {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": xywh(box),
            "score": score,
            "segmentation": rectangle(box),
        }
        for image_id, category_id, box, score in found
    ]
