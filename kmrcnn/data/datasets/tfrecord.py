"""TFRecord shards of our own compact schema: pictures, boxes, run lengths, all in a few files.

A folder holds `dataset.json` (class names, category ids, keypoint names, the shards) and shards of
`tf.train.Example`. Per picture:

    image/id            bytes     JSON of the id, an integer or a text
    image/encoded       bytes     the picture's file as it was
    image/size          2 int64   height, width
    object/box          4N float  x1, y1, x2, y2, pixels
    object/class        N int64   0..K-1
    object/crowd        N int64   0 or 1
    object/area         N float   square pixels, -1 where unknown
    object/mask         N bytes   counts of COCO's run lengths; empty for no mask
    object/keypoints    3JN float x, y, visibility; zeros for none
    object/id           N bytes   JSON of the annotation id
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import read_json
from kmrcnn.data.datasets.collector import Collector
from kmrcnn.data.records import AnnotatedImages, FileSlice, Instance, Record

DESCRIPTION_FILE = "dataset.json"
FORMAT_NAME = "kmrcnn-tfrecord"
FORMAT_VERSION = 1
_LENGTH, _CHECKSUM = 8, 4  # bytes: each record is length, checksum, data, checksum


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says.

    Attributes:
        name: Of the dataset.
        class_names: Names of the K classes.
        category_ids: Their ids in the files the dataset was made from.
        keypoint_names: Names of the J keypoints.
        has_masks: Whether the objects have masks.
        shards: File names in the same folder.
        num_images: Pictures in all shards.
    """

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    keypoint_names: tuple[str, ...]
    has_masks: bool
    shards: tuple[str, ...]
    num_images: int


def load_tfrecord(
    source: str | Path, *, class_names: Iterable[str] | None = None
) -> AnnotatedImages:
    """Reads a folder written by `write_tfrecord`.

    Pictures stay in the shards until they are asked for.

    Args:
        source: The folder, or its `dataset.json`.
        class_names: The classes to read, in this order; others are left out. None reads all.

    Returns:
        The dataset.

    Raises:
        OSError: `dataset.json` cannot be read.
        ValueError: It is not of such a folder, or a class is not in it.
    """
    path = Path(source)
    path = path / DESCRIPTION_FILE if path.is_dir() else path
    description = read_description(path)
    names = description.class_names if class_names is None else tuple(class_names)
    unknown = [name for name in names if name not in description.class_names]
    if unknown:
        raise ValueError(f"`class_names` must be among those of {path}. Received: {unknown}")
    collector = Collector(description.name)
    classes = {description.class_names.index(name): index for index, name in enumerate(names)}
    reader = _Reader(description, classes, collector)
    with tqdm(total=description.num_images, desc="reading", leave=False, disable=None) as bar:
        for shard in description.shards:
            for record in reader.records(path.parent / shard):
                collector.add(record)
                bar.update()
    _note_missing(collector, description)
    ids = [description.category_ids[number] for number in classes]
    return AnnotatedImages(
        collector.records,
        names,
        ids,
        collector.problems,
        description.keypoint_names,
        description.name,
        description.has_masks,
    )


def is_tfrecord(source: Path) -> bool:
    """Whether a path is a folder written by `write_tfrecord`, or its `dataset.json`."""
    path = source / DESCRIPTION_FILE if source.is_dir() else source
    try:
        return path.name == DESCRIPTION_FILE and _is_description(read_json(path))
    except (OSError, ValueError):
        return False


def read_description(path: Path) -> Description:
    """Reads `dataset.json`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not of this format.
    """
    document = read_json(path)
    if not _is_description(document):
        raise ValueError(f"{path} does not describe TFRecord shards of kmrcnn.")
    if document.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} is of version {document.get('version')}, this program reads {FORMAT_VERSION}."
        )
    try:
        return Description(
            name=str(document["name"]),
            class_names=tuple(document["class_names"]),
            category_ids=tuple(document["category_ids"]),
            keypoint_names=tuple(document["keypoint_names"]),
            has_masks=bool(document["has_masks"]),
            shards=tuple(document["shards"]),
            num_images=int(document["num_images"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error


def _is_description(document: Any) -> bool:
    return isinstance(document, dict) and document.get("format") == FORMAT_NAME


def _note_missing(collector: Collector, description: Description) -> None:
    missing = description.num_images - len(collector.records)
    if missing > 0 and not collector.problems:
        collector.note("broken-record", f"{missing} pictures are missing at the ends of shards.")


@dataclass(frozen=True)
class _Reader:
    """Reads shards; `classes` are the wanted ones of the file -> their new numbers."""

    description: Description
    classes: dict[int, int]
    collector: Collector

    def records(self, path: Path) -> Iterator[Record]:
        """The pictures of one shard."""
        from google.protobuf.message import DecodeError
        from tensorflow.train import Example as Message

        try:
            for number, (offset, data) in enumerate(_messages(path)):
                try:
                    yield self._record(Message.FromString(data), path, offset, data)
                except (DecodeError, KeyError, IndexError, ValueError) as error:
                    message = f"Record {number} of {path} is damaged: {error!r}"
                    self.collector.note("broken-record", message)
        except (OSError, ValueError) as error:
            self.collector.note("broken-record", str(error))

    def _record(self, message: Any, path: Path, offset: int, data: bytes) -> Record:
        feature = message.features.feature
        image_id = json.loads(feature["image/id"].bytes_list.value[0])
        encoded = feature["image/encoded"].bytes_list.value[0]
        height, width = feature["image/size"].int64_list.value
        return Record(
            image_id=image_id,
            path=None,
            size=(height, width),
            instances=tuple(self._instances(feature, (height, width), image_id)),
            image_slice=FileSlice(path, offset + data.find(encoded), len(encoded)),
        )

    def _instances(
        self, feature: Any, size: tuple[int, int], image_id: int | str
    ) -> Iterator[Instance]:
        classes = feature["object/class"].int64_list.value
        boxes = np.reshape(_floats(feature["object/box"]), (len(classes), 4))
        areas = _floats(feature["object/area"])
        joints = len(self.description.keypoint_names)
        values = _floats(feature["object/keypoints"]) if joints else ()
        keypoints = np.reshape(values, (len(classes), joints, 3)).astype(np.float32)
        crowds = feature["object/crowd"].int64_list.value
        masks = feature["object/mask"].bytes_list.value
        ids = feature["object/id"].bytes_list.value
        for row, number in enumerate(classes):
            if number not in self.classes:
                continue
            instance = self.collector.make_instance(
                image_id,
                size,
                self.classes[number],
                boxes[row].tolist(),
                {"size": list(size), "counts": masks[row].decode("ascii")} if masks[row] else None,
                annotation_id=json.loads(ids[row]),
                is_crowd=bool(crowds[row]),
                area=None if areas[row] < 0 else areas[row],
                keypoints=keypoints[row] if keypoints[row].any() else None,
            )
            if instance is not None:
                yield instance


def _messages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Place and bytes of each message in a shard."""
    end = path.stat().st_size
    with open(path, "rb") as file:
        while file.tell() < end:
            head = file.read(_LENGTH + _CHECKSUM)
            length = struct.unpack("<Q", head[:_LENGTH])[0] if len(head) == 12 else end
            offset = file.tell()
            if offset + length + _CHECKSUM > end:
                raise ValueError(f"{path} is cut short or damaged at byte {offset}.")
            yield offset, file.read(length)
            file.seek(_CHECKSUM, 1)


def _floats(feature: Any) -> list[float]:
    """Numbers stored in 32 bits as the decimals they were written from: 10.03, not 10.0299997."""
    return [float(str(np.float32(value))) for value in feature.float_list.value]
