"""The data of a table: a folder of the user's, or generated scenes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kmrcnn.data.datasets import open_dataset
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.data.example import Example
from kmrcnn.reproduce.tables import Part, Parts, Scenes, Table

_VALIDATION_SEED = 10**6  # of generated scenes; training scenes have the run's


class Datasets(NamedTuple):
    """What the rows of one seed learn from, and what all are measured on."""

    train: Sequence[Example]
    validation: Any
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None
    origin: str  # which data they are, for the fingerprint of a run


def open_datasets(table: Table, data: str | Path | None, mini: bool, seed: int) -> Datasets:
    """Opens the data of a table.

    Args:
        table: The table.
        data: Folder; None: generated scenes, in the scaled-down version only.
        mini: Whether it is that version.
        seed: Of the run; only generated scenes depend on it.

    Raises:
        ValueError: There is no folder, or not what the table looks for in it.
    """
    if data is None:
        if not mini:
            raise ValueError(
                f"{table.name} needs `data`, a folder with {table.data.train.source!r}; only the "
                "scaled-down version can do without."
            )
        return _scenes(table.mini.scenes, seed)
    return _open_folder(Path(data), table.mini.data if mini else table.data)


@functools.cache
def _open_folder(folder: Path, parts: Parts) -> Datasets:
    if not folder.is_dir():
        raise ValueError(f"`data` must be a folder. Received: {str(folder)!r}")
    train = _open_part(folder, parts.train)
    validation = _open_part(folder, parts.validation, train.class_names)
    origin = f"{folder.resolve()} {parts}"
    return Datasets(train, validation, train.class_names, train.category_ids, origin)


def _open_part(folder: Path, part: Part, class_names: Sequence[str] | None = None) -> Any:
    source = folder / part.source
    if not source.exists():
        raise ValueError(f"`data` has no {part.source!r}: there is no {str(source)!r}.")
    images = None if part.images is None else folder / part.images
    return open_dataset(source, images, split=part.split, class_names=class_names)


def _scenes(scenes: Scenes, seed: int) -> Datasets:
    options = {
        "image_size": (scenes.side, scenes.side),
        "classes": scenes.classes,
        "radius": scenes.radius,
        "max_objects": scenes.max_objects,
        "coin_fraction": scenes.coin_fraction,
        "empty_fraction": 0.0,
    }
    train = _Kept(SyntheticScenes(scenes.train, seed=seed, **options))
    validation = SyntheticScenes(scenes.validation, seed=_VALIDATION_SEED, **options)
    return Datasets(train, validation, scenes.classes, None, repr(scenes))


class _Kept(Sequence):
    """A dataset whose pictures are made once."""

    def __init__(self, dataset: Sequence[Example]):
        self._dataset = dataset
        self._made: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        if index not in self._made:
            self._made[index] = self._dataset[index]
        return self._made[index]
