"""YOLO text files: one line per object, boxes or polygons, in fractions of the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import list_images, read_lines
from kmrcnn.data.datasets.collector import Collector, relative_id, shortened
from kmrcnn.data.images import read_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record

SPLITS = ("train", "val", "test")
_MOST_CLASSES = 100_000
_CONFIG, _CLASSES = "data.yaml", "classes.txt"


def load_yolo(
    source: str | Path,
    images: str | Path | None = None,
    *,
    split: str | None = None,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads a dataset for YOLO: boxes (`class x y w h`), polygons (`class x1 y1 x2 y2 ...`), and
    boxes with keypoints where `data.yaml` says `kpt_shape`.

    The labels of `images/val/a.jpg` are in `labels/val/a.txt`, or beside the picture. A picture
    without a text file has no objects.

    Args:
        source: `data.yaml`, its folder, or a folder with `images` and `labels` (and perhaps
            `classes.txt`).
        images: A folder of pictures, instead of those that `source` names.
        split: "train", "val" or "test"; None takes every picture of these.
        class_names: Names of all classes in the order of their numbers; None reads them from
            `data.yaml` or `classes.txt`, else makes "class 0", "class 1", ...

    Returns:
        The dataset; category ids are the class numbers, from 0.

    Raises:
        OSError: A file cannot be read.
        ValueError: There are no pictures, or `data.yaml` is broken.
    """
    source = Path(source)
    setup = _read_setup(source, split)
    folders = [Path(images)] if images is not None else setup.images
    collector = Collector(setup.name)
    paths = [path for folder in folders for path in _list_pictures(folder)]
    if not paths:
        raise ValueError(f"There are no pictures in {', '.join(str(f) for f in folders)}.")
    names = setup.class_names if class_names is None else tuple(class_names)
    highest = -1
    for path in tqdm(paths, desc=setup.name, leave=False, disable=None):
        image_id = relative_id(path, setup.root)
        size = _read_size(path, image_id, collector)
        if size is None:
            continue
        reader = _LabelReader(image_id, size, names, setup, collector)
        instances = tuple(reader.instances(_label_file(path)))
        highest = max([highest, *(one.class_index for one in instances)])
        collector.add(Record(image_id, path, size, instances))
    if names is None:
        names = tuple(f"class {number}" for number in range(highest + 1))
    keypoint_names = [f"keypoint {number}" for number in range(setup.keypoint_count)]
    return collector.dataset(names, range(len(names)), keypoint_names)


@dataclass(frozen=True)
class _Setup:
    name: str
    root: Path
    images: list[Path]  # folders, or text files that list pictures
    class_names: tuple[str, ...] | None
    keypoint_count: int = 0
    keypoint_values: int = 3  # x, y, visibility; 2 without the latter


def is_yolo(source: Path) -> bool:
    """Whether a path is a dataset for YOLO."""
    if source.is_file():
        return source.suffix in (".yaml", ".yml")
    if (source / _CONFIG).is_file():
        return True
    labels = source / "labels"
    return (source / "images").is_dir() and next(labels.rglob("*.txt"), None) is not None


def _read_setup(source: Path, split: str | None) -> _Setup:
    config = source if source.is_file() else source / _CONFIG
    if split is not None and split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}. Received: {split!r}")
    if config.is_file():
        return _read_config(config, split)
    classes = source / _CLASSES
    names = tuple(read_lines(classes)) if classes.is_file() else None
    folder = source / "images" if (source / "images").is_dir() else source
    return _Setup(source.name, source, [folder if split is None else folder / split], names)


def _read_config(path: Path, split: str | None) -> _Setup:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    splits = SPLITS if split is None else (split,)
    config = config if isinstance(config, Mapping) else {}
    entries = [config[key] for key in splits if config.get(key)]
    if not entries:
        raise ValueError(f"{path} names no pictures: it needs one of {', '.join(splits)}.")
    root = path.parent / str(config.get("path") or "")
    root = root if root.is_dir() else path.parent  # `path` may be of another machine
    names = config.get("names")
    if isinstance(names, Mapping):
        names = _in_order(names, path)
    keypoints = config.get("kpt_shape") or (0, 3)
    return _Setup(
        name=path.parent.name if split is None else f"{path.parent.name} {split}",
        root=root,
        images=[_resolve(root, one) for entry in entries for one in _as_list(entry)],
        class_names=None if names is None else tuple(str(name) for name in names),
        keypoint_count=int(keypoints[0]),
        keypoint_values=int(keypoints[1]),
    )


def _in_order(names: Mapping[Any, Any], path: Path) -> list[str]:
    """Names by number as a list; a number that is left out is its own name."""
    if not all(isinstance(number, int) and 0 <= number < _MOST_CLASSES for number in names):
        raise ValueError(
            f"`names` of {path} must be a list, or have numbers from 0 to {_MOST_CLASSES - 1}. "
            f"Received: {shortened(list(names))}"
        )
    return [str(names.get(number, number)) for number in range(max(names, default=-1) + 1)]


def _as_list(entry: Any) -> list[str]:
    return [str(one) for one in entry] if isinstance(entry, list) else [str(entry)]


def _resolve(root: Path, entry: str) -> Path:
    """A folder of `data.yaml`; exports often write "../train/images" for "train/images"."""
    path = root / entry
    stripped = root / entry.removeprefix("../")
    return stripped if not path.exists() and stripped.exists() else path


def _list_pictures(entry: Path) -> list[Path]:
    if entry.suffix != ".txt":
        return list_images(entry)
    lines = [Path(line) for line in read_lines(entry)]
    return [line if line.is_absolute() else entry.parent / line for line in lines]


def _read_size(path: Path, image_id: str, collector: Collector) -> tuple[int, int] | None:
    try:
        return read_size(path)
    except FileNotFoundError as error:
        collector.note("missing-image", str(error), image_id)
    except (OSError, ValueError) as error:
        collector.note("unreadable-image", str(error), image_id)
    return None


def _label_file(image: Path) -> Path:
    """`labels` in place of the last `images` in the path; beside the picture if that is none."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[:-1][::-1].index("images")
        parts[place] = "labels"
        mirrored = Path(*parts).with_suffix(".txt")
        if mirrored.is_file():
            return mirrored
    return image.with_suffix(".txt")


@dataclass(frozen=True)
class _LabelReader:
    """Reads the lines of one picture."""

    image_id: str
    size: tuple[int, int]
    names: tuple[str, ...] | None
    setup: _Setup
    collector: Collector

    def instances(self, path: Path) -> Iterator[Instance]:
        """The objects; the number of a line, from 1, is the annotation id."""
        try:
            lines = read_lines(path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.collector.note("broken-record", str(error), self.image_id)
            return
        for number, line in enumerate(lines, start=1):
            instance = self._instance(line, number)
            if instance is not None:
                yield instance

    def _instance(self, line: str, number: int) -> Instance | None:
        where = (self.image_id, number)
        try:
            label, *values = (float(word) for word in line.split())
        except ValueError:
            label, values = -1.0, []
        if len(values) < 4 or not label.is_integer():
            message = f"{shortened(line)} is no class and four or more numbers."
            self.collector.note("broken-record", message, *where)
            return None
        known = _MOST_CLASSES if self.names is None else len(self.names)
        if not 0 <= label < known:
            self.collector.note("unknown-category", f"There is no class {label:g}.", *where)
            return None
        box = segmentation = keypoints = None
        extra = self.setup.keypoint_count * self.setup.keypoint_values
        if len(values) == 4 or (extra and len(values) == 4 + extra):
            box = self._box(values[:4])
            keypoints = self._keypoints(values[4:], number) if extra and values[4:] else None
        elif len(values) % 2:
            message = f"A polygon has an odd number of coordinates: {len(values)}"
            self.collector.note("bad-polygon", message, *where)
            return None
        else:
            segmentation = [np.reshape(values, (-1, 2)) * self.size[::-1]]
        return self.collector.make_instance(
            self.image_id,
            self.size,
            int(label),
            box,
            segmentation,
            annotation_id=number,
            keypoints=keypoints,
        )

    def _box(self, values: list[float]) -> tuple[float, float, float, float]:
        height, width = self.size
        x, y, w, h = values
        return (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height

    def _keypoints(self, values: list[float], number: int) -> np.ndarray | None:
        count, per_point = self.setup.keypoint_count, self.setup.keypoint_values
        points = np.full((count, 3), 2.0)
        points[:, :per_point] = np.reshape(values, (count, per_point))
        points[:, :2] *= self.size[::-1]
        if per_point == 2:  # (0, 0) stands for a point that is not labelled
            points[~points[:, :2].any(axis=1), 2] = 0
        return self.collector.make_keypoints(points, count, self.image_id, number)
