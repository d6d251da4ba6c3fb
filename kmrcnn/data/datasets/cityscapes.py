"""Cityscapes: instanceIds pictures, or the polygons they were drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import read_json
from kmrcnn.data.datasets.collector import Collector
from kmrcnn.data.datasets.label_images import compact_mask, read_label_image, split_labels
from kmrcnn.data.measures import can_be_filled, to_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record

# Label ids of cityscapesScripts. The first eight are evaluated as instances.
THINGS = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
_OTHER_THINGS = {"caravan": 29, "trailer": 30}  # drawn one by one, but never evaluated
_MOST_PIXELS = 10**8  # of a picture
_STUFF = 0  # what is no thing only hides things, its number does not matter
_INVISIBLE = frozenset({"license plate"})  # id -1: drawn over nothing
_PER_CLASS = 1000  # an object's number is label id * 1000 + count; a group's is the label id
_MASK_SUFFIX, _POLYGON_SUFFIX = "_gtFine_instanceIds.png", "_gtFine_polygons.json"
_IMAGE_SUFFIX = "_leftImg8bit"


def load_cityscapes(
    source: str | Path,
    images: str | Path | None = None,
    *,
    split: str | None = None,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads the fine annotations of Cityscapes.

    `*_gtFine_instanceIds.png` is read where it exists, else `*_gtFine_polygons.json` is drawn as
    cityscapesScripts draws it: later objects hide earlier ones. Groups ("cargroup") are crowds.

    Args:
        source: The folder with `gtFine` and `leftImg8bit`, or a folder in `gtFine`.
        images: The folder in `leftImg8bit` that matches `source`; None finds it.
        split: "train" or "val"; None takes every picture there is.
        class_names: Classes out of `THINGS`, in order; None takes all eight.

    Returns:
        The dataset; category ids are Cityscapes' label ids.

    Raises:
        ValueError: There are no such annotations, or a class is not among `THINGS`.
    """
    names = tuple(THINGS if class_names is None else class_names)
    unknown = [name for name in names if name not in THINGS]
    if unknown:
        raise ValueError(
            f"`class_names` must be among {', '.join(THINGS)}. Received: {', '.join(unknown)}"
        )
    root, image_root = _find_folders(Path(source), images, split)
    collector = Collector("cityscapes" if split is None else f"cityscapes {split}")
    category_ids = tuple(THINGS[name] for name in names)
    files = _annotation_files(root)
    if not files:
        raise ValueError(f"There are no files *{_MASK_SUFFIX} or *{_POLYGON_SUFFIX} in {root}.")
    for image_id, path in tqdm(files.items(), desc=collector.name, leave=False, disable=None):
        labels = _read_numbers(path, image_id, collector)
        if labels is None:
            continue
        instances = tuple(_read_instances(labels, category_ids, image_id, collector))
        file = image_root / path.relative_to(root).parent / f"{image_id}{_IMAGE_SUFFIX}.png"
        collector.add(Record(image_id, file, labels.shape, instances))
    return collector.dataset(names, category_ids)


def is_cityscapes(source: Path) -> bool:
    """Whether a folder holds fine annotations of Cityscapes."""
    root = source / "gtFine" if (source / "gtFine").is_dir() else source
    if not root.is_dir():
        return False
    patterns = (f"*{_MASK_SUFFIX}", f"*{_POLYGON_SUFFIX}")
    depths = ("", "*/", "*/*/")
    return any(next(root.glob(depth + pattern), None) for depth in depths for pattern in patterns)


def _find_folders(source: Path, images: str | Path | None, split: str | None) -> tuple[Path, Path]:
    """Folder of the annotations, and the one of the pictures that mirrors it."""
    root = source / "gtFine" if (source / "gtFine").is_dir() else source
    root = root if split is None else root / split
    if not root.is_dir():
        raise ValueError(f"There is no folder {root}.")
    if images is not None:
        return root, Path(images)
    for above in (root, *root.parents):
        if above.name == "gtFine":
            return root, above.parent / "leftImg8bit" / root.relative_to(above)
    return root, root  # annotations and pictures in one folder


def _annotation_files(root: Path) -> dict[str, Path]:
    """City_sequence_frame -> instanceIds picture, or polygons where there is none."""
    files = {}
    for suffix in (_POLYGON_SUFFIX, _MASK_SUFFIX):
        for path in sorted(root.rglob(f"*{suffix}")):
            files[path.name.removesuffix(suffix)] = path
    return dict(sorted(files.items()))


def _read_numbers(path: Path, image_id: str, collector: Collector) -> np.ndarray | None:
    """(H, W) int32 as in instanceIds, or None with a note."""
    try:
        if path.name.endswith(_MASK_SUFFIX):
            return read_label_image(path)
        return draw_polygons(read_json(path))
    except (OSError, ValueError, OverflowError) as error:
        collector.note("unreadable-mask", str(error), image_id)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{path} is no polygon file of Cityscapes: {error!r}"
        collector.note("broken-record", message, image_id)
    return None


def draw_polygons(document: dict[str, Any]) -> np.ndarray:
    """Draws a polygon file as instanceIds, stuff as 0.

    Args:
        document: The JSON: imgHeight, imgWidth, objects of label, polygon and deleted.

    Returns:
        (H, W) int32: label id * 1000 + count for objects, label id for groups.

    Raises:
        ValueError: The size or a polygon is beyond all measure.
    """
    size = to_size(document["imgHeight"], document["imgWidth"])
    if size is None or size[0] * size[1] > _MOST_PIXELS:
        sides = f"{document['imgHeight']!r:.20} x {document['imgWidth']!r:.20}"
        raise ValueError(f"No picture has {sides} (height x width) pixels.")
    canvas = Image.new("I", size[::-1], _STUFF)
    pen = ImageDraw.Draw(canvas)
    counts: Counter[str] = Counter()
    for entry in document["objects"]:
        label = entry["label"]
        if entry.get("deleted") or label in _INVISIBLE:
            continue
        name = label.removesuffix("group")
        number = (THINGS | _OTHER_THINGS).get(name, _STUFF)
        if number != _STUFF and name == label:
            number = number * _PER_CLASS + counts[name]
            counts[name] += 1
        points = np.array(entry["polygon"], np.float64).reshape(-1, 2)
        if not can_be_filled(points):
            raise ValueError(f"A polygon of {label!r} is not near the picture.")
        pen.polygon([tuple(point) for point in points.tolist()], fill=number)
    return np.array(canvas, np.int32)


def _read_instances(
    labels: np.ndarray, category_ids: tuple[int, ...], image_id: str, collector: Collector
) -> Iterator[Instance]:
    least = min(THINGS.values())
    stuff = tuple(number for number in np.unique(labels).tolist() if number < least)
    for number, crop in split_labels(labels, stuff).items():
        is_group = number < _PER_CLASS
        category = number if is_group else number // _PER_CLASS
        if category not in category_ids:
            continue
        instance = collector.make_instance(
            image_id,
            labels.shape,
            category_ids.index(category),
            segmentation=compact_mask(crop, labels.shape),
            annotation_id=number,
            is_crowd=is_group,
        )
        if instance is not None:
            yield instance
