"""Reading what is to be checked: COCO JSON entry by entry, other formats through their loader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmrcnn.data.check.instances import MaskRules
from kmrcnn.data.check.kinds import LOADERS_ONLY
from kmrcnn.data.check.raw_coco import (
    RawCoco,
    image_file_name,
    is_image_entry,
    read_raw_coco,
)
from kmrcnn.data.datasets import open_dataset
from kmrcnn.data.datasets.annotation_files import read_json
from kmrcnn.data.datasets.coco import is_coco, load_coco
from kmrcnn.data.records import AnnotatedImages, Problem, Record


@dataclass(frozen=True)
class Annotations:
    """What is checked.

    Attributes:
        dataset: As the loader reads it.
        raw: Entry by entry, with all that the loader skips; None for other formats than COCO.
        images: The folder from which the names of the pictures' files start.
    """

    dataset: AnnotatedImages
    raw: RawCoco | None
    images: Path

    @property
    def records(self) -> list[Record]:
        """The pictures and their objects, sound or not as far as the format allows."""
        return (self.raw or self.dataset).records

    @property
    def class_names(self) -> Sequence[str]:
        """One name per class."""
        return (self.raw or self.dataset).class_names

    @property
    def category_ids(self) -> Sequence[int]:
        """The file's own id of each class."""
        return (self.raw or self.dataset).category_ids

    def mask_rules(self) -> MaskRules:
        """What the masks have to be like: all objects have one where any has."""
        has_masks = any(
            one.segmentation is not None for record in self.records for one in record.instances
        )
        return MaskRules(are_expected=has_masks, are_labels=self.raw is None)

    def skipped(self, found: Iterable[Problem]) -> list[Problem]:
        """The loader's problems without those that the checks `found`, too, under any name."""
        if self.raw is None:
            return self.dataset.problems
        places = {_place(one) for one in found}
        return [
            one
            for one in self.dataset.problems
            if one.kind in LOADERS_ONLY or _place(one) not in places
        ]


def read_annotations(
    source: str | Path,
    images: str | Path | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    class_names: Iterable[str] | None = None,
) -> Annotations:
    """Reads a dataset of any format. COCO JSON is read entry by entry if all its classes are
    wanted.

    Args:
        source: An annotation file, or a folder.
        images: The folder of the pictures; None looks at the usual places.
        format: See `open_dataset`, as for the following.
        split: Part of the dataset.
        class_names: Classes to check; None takes all.

    Raises:
        OSError: The source cannot be read.
        ValueError: Its format is not recognised, or there is no folder `images`.
    """
    source = Path(source)
    may_be_coco = format in (None, "coco", "lvis") and class_names is None
    if may_be_coco and source.suffix.lower() == ".json" and source.is_file():
        document = read_json(source)
        if is_coco(document):
            return _read_coco(source, document, images)
    dataset = open_dataset(source, images, format=format, split=split, class_names=class_names)
    return Annotations(dataset, None, _common_folder(dataset, source))


def _read_coco(source: Path, document: dict[str, Any], images: str | Path | None) -> Annotations:
    dataset = load_coco(source, images, require_images=False)
    folder = Path(images) if images is not None else _folder_of(dataset, document, source)
    return Annotations(dataset, read_raw_coco(document, lambda name: folder / name), folder)


def _place(problem: Problem) -> str:
    """What a problem is about; as text, since the ids of a broken file may be anything."""
    return repr((problem.image_id, problem.annotation_id))


def _folder_of(dataset: AnnotatedImages, document: dict[str, Any], source: Path) -> Path:
    """The folder in which the loader found the pictures; the file's own if it found none."""
    names = {
        entry["id"]: image_file_name(entry)
        for entry in reversed(document["images"])
        if is_image_entry(entry)
    }
    for record in dataset.records:
        name = Path(names[record.image_id])
        if record.path is not None and not name.is_absolute():
            return record.path.parents[len(name.parts) - 1]
    return source.parent


def _common_folder(dataset: AnnotatedImages, source: Path) -> Path:
    """The deepest folder that holds all pictures."""
    folders = [str(record.path.absolute().parent) for record in dataset.records if record.path]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # no picture has a file, or they lie on several drives
        return source.parent
