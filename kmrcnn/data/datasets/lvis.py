"""LVIS: COCO JSON whose pictures may be named by their address only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kmrcnn.data.datasets.coco import is_coco, load_coco
from kmrcnn.data.records import AnnotatedImages


def load_lvis(
    path: str | Path,
    images: str | Path | None = None,
    *,
    class_names: Iterable[str] | None = None,
    require_images: bool = True,
) -> AnnotatedImages:
    """Reads an LVIS JSON file (v0.5, v1).

    The file is COCO JSON but for three things: pictures may carry `coco_url` instead of a file
    name (read as `train2017/000000391895.jpg` below `images`), masks are polygons and there are no
    crowds, and pictures list the categories that were looked for in vain or not exhaustively. The
    latter concern evaluation only, which reads them from the file itself.

    Args:
        path: The JSON file, such as `lvis_v1_train.json`.
        images: Folder that holds `train2017` and `val2017`.
        class_names: See `load_coco`.
        require_images: See `load_coco`.

    Returns:
        The dataset.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not COCO JSON, a class is not in it, or no picture is found.
    """
    return load_coco(path, images, class_names=class_names, require_images=require_images)


def is_lvis(document: Any) -> bool:
    """Whether a JSON document is LVIS: COCO whose pictures list categories looked for in vain."""
    return is_coco(document) and any(
        isinstance(image, dict) and "neg_category_ids" in image for image in document["images"][:1]
    )
