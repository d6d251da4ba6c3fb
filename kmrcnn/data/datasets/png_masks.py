"""Folders of pictures and of PNG masks: one label image per picture, or one PNG per object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import images_by_stem
from kmrcnn.data.datasets.collector import Collector
from kmrcnn.data.datasets.label_images import compact_mask, read_label_image, split_labels
from kmrcnn.data.images import read_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record

_IMAGES, _MASKS = "images", "masks"


def load_png_masks(
    source: str | Path,
    images: str | Path | None = None,
    *,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads masks that are pictures themselves, all of one class.

    Three layouts, told apart by what is there:

    - `images/a.jpg` and `masks/a.png`: a label image of 8 or 16 bits, 0 the background, any other
      value an object;
    - `images/a.jpg` and `masks/a/*.png`: one file per object, non-zero inside;
    - `a/images/a.png` and `a/masks/*.png`: the same in a folder per picture (Data Science Bowl).

    Args:
        source: The folder that holds `images` and `masks`, or the masks' folder itself, or the
            folder of the folders per picture.
        images: The pictures' folder; None takes `images` beside the masks.
        class_names: The name of the one class; None is "object".

    Returns:
        The dataset. Pictures without masks are left out and reported: an unannotated picture is
        not an empty one. An all-zero label image or an empty folder means no objects.

    Raises:
        ValueError: There is no such folder, or more than one class is named.
    """
    names = ("object",) if class_names is None else tuple(class_names)
    if len(names) != 1:
        raise ValueError(f"PNG masks have one class. Received: class_names={names}")
    source = Path(source)
    collector = Collector(source.name)
    pairs = list(_find_pairs(source, images))
    if not pairs:
        raise ValueError(f"There are no pictures with masks in {source}.")
    for pair in tqdm(pairs, desc=collector.name, leave=False, disable=None):
        _add_record(pair, collector)
    return collector.dataset(names)


@dataclass(frozen=True)
class _Pair:
    stem: str
    image: Path
    masks: Path | list[Path] | None  # a label image; one file per object; nothing


def is_png_masks(source: Path) -> bool:
    """Whether a folder is in one of the layouts of pictures and masks."""
    if not source.is_dir():
        return False
    if (source / _IMAGES).is_dir() and (source / _MASKS).is_dir():
        return True
    return bool(_folders_per_image(source))


def _find_pairs(source: Path, images: str | Path | None) -> Iterator[_Pair]:
    if images is None and not (source / _MASKS).is_dir():
        folders = _folders_per_image(source)
        if folders:
            yield from _pairs_of_folders(folders)
            return
    masks = source / _MASKS if (source / _MASKS).is_dir() else source
    image_folder = masks.parent / _IMAGES if images is None else Path(images)
    label_images = images_by_stem(masks)
    for stem, image in images_by_stem(image_folder).items():
        folder = masks / stem
        found = sorted(folder.glob("*.png")) if folder.is_dir() else label_images.get(stem)
        yield _Pair(stem, image, found)


def _folders_per_image(source: Path) -> list[Path]:
    return sorted(path.parent for path in source.glob(f"*/{_MASKS}") if path.is_dir())


def _pairs_of_folders(folders: list[Path]) -> Iterator[_Pair]:
    for folder in folders:
        inner = folder / _IMAGES
        pictures = list(images_by_stem(inner).values()) if inner.is_dir() else []
        image = pictures[0] if pictures else inner / f"{folder.name}.png"
        yield _Pair(folder.name, image, sorted((folder / _MASKS).glob("*.png")))


def _add_record(pair: _Pair, collector: Collector) -> None:
    if pair.masks is None:
        message = f"The picture {pair.image} has no masks."
        collector.note("missing-mask", message, pair.stem)
        return
    try:
        size = read_size(pair.image)
    except FileNotFoundError as error:
        collector.note("missing-image", str(error), pair.stem)
    except (OSError, ValueError) as error:
        collector.note("unreadable-image", str(error), pair.stem)
    else:
        instances = _read_instances(pair, size, collector)
        if instances is not None:
            collector.add(Record(pair.stem, pair.image, size, tuple(instances)))


def _read_instances(
    pair: _Pair, size: tuple[int, int], collector: Collector
) -> list[Instance] | None:
    """The objects; None if the label image of the whole picture is of no use."""
    if isinstance(pair.masks, Path):
        labels = _read_mask(pair.masks, size, pair.stem, collector)
        if labels is None:
            return None
        found = {number: compact_mask(crop, size) for number, crop in split_labels(labels).items()}
    else:
        bitmaps = {path.stem: _read_mask(path, size, pair.stem, collector) for path in pair.masks}
        found = {
            name: compact_mask(bitmap != 0, size)
            for name, bitmap in bitmaps.items()
            if bitmap is not None
        }
    instances = [
        collector.make_instance(pair.stem, size, 0, segmentation=rle, annotation_id=number)
        for number, rle in found.items()
    ]
    return [one for one in instances if one is not None]


def _read_mask(
    path: Path, size: tuple[int, int], stem: str, collector: Collector
) -> np.ndarray | None:
    try:
        labels = read_label_image(path)
    except (OSError, ValueError) as error:
        collector.note("unreadable-mask", str(error), stem)
        return None
    if labels.shape != size:
        message = f"{path} is {labels.shape}, the picture {size} (height, width)."
        collector.note("mask-size-mismatch", message, stem)
        return None
    return labels
