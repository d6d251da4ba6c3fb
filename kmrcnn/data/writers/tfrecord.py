"""Datasets to TFRecord shards; the schema is in `kmrcnn/data/datasets/tfrecord.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kmrcnn.data.datasets.tfrecord import (
    DESCRIPTION_FILE,
    FORMAT_NAME,
    FORMAT_VERSION,
    read_description,
)
from kmrcnn.data.files import written_aside
from kmrcnn.data.images import read_size
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import AnnotatedImages, Instance, Problem, Record
from kmrcnn.structures.masks import mask_to_rle

_SHARD_BYTES = 128 * 2**20  # about, of pictures


def write_tfrecord(
    dataset: AnnotatedImages,
    folder: str | Path,
    *,
    num_shards: int | None = None,
    overwrite: bool = False,
) -> list[Problem]:
    """Writes a dataset as TFRecord shards and `dataset.json`, which `load_tfrecord` reads.

    Pictures go in as their files are. Masks become run lengths at the size of the picture.

    Args:
        dataset: What to write.
        folder: Where to; made if it is not there.
        num_shards: Number of files; None makes them about 128 MiB each.
        overwrite: Replace a dataset in the folder.

    Returns:
        The pictures that were left out, and why.

    Raises:
        FileExistsError: The folder is not empty.
        OSError: A file cannot be written.
        ValueError: `num_shards` is not positive, or the dataset was read from this folder.
    """
    folder = Path(folder)
    if num_shards is not None and num_shards < 1:
        raise ValueError(f"`num_shards` must be at least 1. Received: num_shards={num_shards}")
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise FileExistsError(f"The folder {folder} is not empty.")
    if any(r.image_slice and r.image_slice.path.parent == folder for r in dataset.records):
        raise ValueError(f"The pictures to write lie in {folder}: write to another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    former = _former_shards(folder)
    count = num_shards or max(1, round(_total_bytes(dataset) / _SHARD_BYTES))
    count = min(count, max(len(dataset), 1))
    parts = np.array_split(np.arange(len(dataset)), count)
    shards = [f"images-{number:05d}-of-{count:05d}.tfrecord" for number in range(count)]
    problems: list[Problem] = []
    with tqdm(total=len(dataset), desc=dataset.name, leave=False, disable=None) as bar:
        for shard, part in zip(shards, parts):
            _write_shard(dataset, part, folder / shard, problems, bar)
    _write_description(dataset, folder, shards, len(dataset) - len(problems))
    for shard in former - set(shards):
        (folder / shard).unlink(missing_ok=True)
    return problems


def _former_shards(folder: Path) -> set[str]:
    """Shards of a dataset that is being replaced."""
    try:
        names = read_description(folder / DESCRIPTION_FILE).shards
    except (OSError, ValueError):
        return set()
    return {name for name in names if Path(name).name == name}


def _total_bytes(dataset: AnnotatedImages) -> int:
    """Size of all pictures, from some of them."""
    some = dataset.records[:: max(len(dataset) // 100, 1)]
    sizes = [_num_bytes(record) for record in some]
    return int(np.mean(sizes) * len(dataset)) if sizes else 0


def _num_bytes(record: Record) -> int:
    if record.path is not None:
        return record.path.stat().st_size if record.path.is_file() else 0
    if record.image_slice is not None:
        return record.image_slice.length
    return len(record.image_bytes or b"")


def _write_shard(
    dataset: AnnotatedImages, members: np.ndarray, path: Path, problems: list[Problem], bar: tqdm
) -> None:
    import tensorflow as tf

    with written_aside(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for index in members.tolist():
            record = dataset.records[index]
            try:
                message = _message(record, len(dataset.keypoint_names))
            except (OSError, ValueError) as error:
                problems.append(Problem("unreadable-image", str(error), record.image_id))
            else:
                writer.write(message.SerializeToString())
            bar.update()


def _write_description(
    dataset: AnnotatedImages, folder: Path, shards: list[str], num_images: int
) -> None:
    document = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "name": dataset.name,
        "num_images": num_images,
        "class_names": list(dataset.class_names),
        "category_ids": list(dataset.category_ids),
        "keypoint_names": list(dataset.keypoint_names),
        "has_masks": dataset.has_masks,
        "shards": shards,
    }
    with written_aside(folder / DESCRIPTION_FILE) as aside:
        aside.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")


def _message(record: Record, num_keypoints: int) -> Any:
    """The `tf.train.Example` of a picture."""
    import tensorflow as tf

    encoded = record.read_bytes()
    size = read_size(encoded) if record.size is None else record.size
    instances = record.instances
    areas = [-1.0 if one.area is None else one.area for one in instances]
    features = {
        "image/id": _bytes([_json(record.image_id)]),
        "image/encoded": _bytes([encoded]),
        "image/size": _integers(size),
        "object/box": _numbers([side for one in instances for side in one.box]),
        "object/class": _integers([one.class_index for one in instances]),
        "object/crowd": _integers([int(one.is_crowd) for one in instances]),
        "object/area": _numbers(areas),
        "object/mask": _bytes([_counts(one, size) for one in instances]),
        "object/keypoints": _numbers(
            [value for one in instances for value in _flat_keypoints(one, num_keypoints)]
        ),
        "object/id": _bytes([_json(one.annotation_id) for one in instances]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _counts(one: Instance, size: tuple[int, int]) -> bytes:
    """COCO's compressed run lengths; nothing for an object without mask."""
    segmentation = one.segmentation
    if segmentation is None:
        return b""
    if isinstance(segmentation, Mapping) and not isinstance(segmentation["counts"], list):
        counts = segmentation["counts"]
    else:
        counts = mask_to_rle(decode_mask(segmentation, size).to_full(size))["counts"]
    return counts.encode("ascii") if isinstance(counts, str) else counts


def _flat_keypoints(one: Instance, count: int) -> list[float]:
    return [0.0] * (3 * count) if one.keypoints is None else one.keypoints.reshape(-1).tolist()


def _json(value: int | str | None) -> bytes:
    return json.dumps(value).encode("ascii")


def _bytes(values: list[bytes]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _integers(values: Any) -> Any:
    import tensorflow as tf

    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _numbers(values: list[float]) -> Any:
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
