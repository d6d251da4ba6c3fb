"""A dataset to the batches that `model.fit` takes, on tf.data.

The way of a picture: plan (`sampling.py`), read and augmented (`loader.py`, `augment/`), targets
(`targets.py`), batch (`batches.py`). What a picture becomes depends on (seed, epoch,
index) alone, so that any number of workers, a restart, or one device instead of two change nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.batches import check_canvas_sizes, to_inputs
from kmrcnn.data.example import Example
from kmrcnn.data.loader import ExampleLoader
from kmrcnn.data.sampling import (
    BatchPlan,
    Draw,
    classes_of,
    labelled_keypoints,
    repeat_factors,
    upright_images,
)
from kmrcnn.data.targets import Targets


def make_pipeline(
    dataset: Sequence[Example],
    input_config: InputConfig,
    data_config: DataConfig,
    *,
    batch_size: int,
    training: bool,
    seed: int = 0,
    epoch: int = 0,
    epochs: int | None = 1,
    first_step: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Batches of a dataset.

    Args:
        dataset: Any sequence of examples. Its `records`, if it has any, tell orientations and
            classes without reading pictures.
        input_config: The model's input settings.
        data_config: Augmentation, batches, sampling.
        batch_size: Pictures per batch, of this worker.
        training: Shuffle, augment, and leave out the last incomplete batch. Otherwise pictures come
            in the dataset's order, grouped by orientation.
        seed: Of order and augmentation.
        epoch: The first one.
        epochs: How many come one after the other; None: without end. For `fit` with
            `steps_per_epoch`.
        first_step: Batches of the first epoch that are left out, unread, to resume within it.
        shard: (number of this worker, number of workers). The workers' batches of a step are the
            parts of what one worker with a batch as large as all of theirs has.

    Returns:
        A dataset of {"images": (B, H, W, C) float32, 0-255, zeros below and on the right,
        "image_sizes": (B, 2) int32, "image_index": (B,) int32 into `dataset`, "targets": {"boxes":
        (B, N, 4) float32, xyxy, network frame, "classes": (B, N) int32, "valid": (B, N) bool,
        "masks": (B, N, S, S) uint8, "mask_windows": (B, N, 4) float32, xyxy, "keypoints": (B, N,
        J, 3) float32, x, y, visibility}}; masks and their windows only if `data_config.masks`,
        keypoints only with `data_config.keypoints`.

    Raises:
        ValueError: Training has fewer pictures than one batch, `shard` is impossible, or several
            epochs are asked for without training.

    Example:
        >>> batches = make_pipeline(scenes, model.config.input, DataConfig(), batch_size=2,
        ...                         training=True)
        >>> model.fit(batches)
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"`shard` must be (number, of how many). Received: shard={shard}")
    if not training and epochs != 1:
        raise ValueError(f"Without `training` there is one epoch. Received: epochs={epochs}")
    check_canvas_sizes(input_config, data_config)
    plan = make_plan(
        dataset, data_config, batch_size=batch_size * shard[1], training=training, seed=seed
    )
    stream = _Stream(plan, epoch, epochs, first_step, shard)
    loader = ExampleLoader(dataset, input_config, data_config, training, seed)
    workers = data_config.workers or os.cpu_count() or 1
    spec = tf.TensorSpec((3,), tf.int64)
    rows = tf.data.Dataset.from_generator(stream.draws, output_signature=spec)
    rows = rows.map(partial(_load_row, loader), num_parallel_calls=workers)
    batches = rows.padded_batch(batch_size, drop_remainder=training)
    batches = batches.map(lambda padded: to_inputs(padded, input_config, data_config))
    if epochs is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(stream.num_batches()))
    return batches.prefetch(data_config.prefetch).with_options(_options(workers))


def steps_per_epoch(
    dataset: Sequence[Example],
    data_config: DataConfig,
    *,
    batch_size: int,
    training: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> int:
    """Batches of an epoch of `make_pipeline`; every training epoch and every worker has as many."""
    ungrouped = dataclasses.replace(data_config, group_by_orientation=False)  # counts are the same
    plan = make_plan(
        dataset, ungrouped, batch_size=batch_size * shard[1], training=training, seed=0
    )
    return _Stream(plan, 0, 1, 0, shard).num_batches()


def make_plan(
    dataset: Sequence[Example],
    data_config: DataConfig,
    *,
    batch_size: int,
    training: bool,
    seed: int,
) -> BatchPlan:
    """The order of a dataset's pictures; `batch_size` is that of all workers together."""
    factors = np.ones(len(dataset))
    if training and data_config.repeat_threshold:
        factors = repeat_factors(classes_of(dataset), data_config.repeat_threshold)
    if training and data_config.min_keypoints:
        factors = factors * (labelled_keypoints(dataset) >= data_config.min_keypoints)
    upright = upright_images(dataset) if data_config.group_by_orientation else None
    return BatchPlan(factors, upright, batch_size, training, seed)


@dataclass(frozen=True, eq=False)
class _Stream:
    """What one worker reads."""

    plan: BatchPlan
    epoch: int
    epochs: int | None
    first_step: int
    shard: tuple[int, int]

    def draws(self) -> Iterator[tuple[int, int, int]]:
        """(epoch, index, repeat) of one picture after the other."""
        epoch, first = self.epoch, self.first_step
        while self.epochs is None or epoch < self.epoch + self.epochs:
            for batch in self.plan.batches(epoch)[first:]:
                for draw in self._share(batch):
                    yield epoch, *draw
            epoch, first = epoch + 1, 0

    def num_batches(self) -> int:
        """Of all the epochs."""
        number = self.plan.num_batches
        last = self.plan.num_draws % self.plan.batch_size
        if not self.plan.training and last and not self._share([Draw(0, 0)] * last):
            number -= 1  # nothing of the last, incomplete batch falls to this worker
        return max(0, number * self.epochs - self.first_step)

    def _share(self, batch: list[Draw]) -> list[Draw]:
        worker, workers = self.shard
        size = self.plan.batch_size // workers
        return batch[worker * size : (worker + 1) * size]


def _load_row(loader: ExampleLoader, draw: tf.Tensor) -> dict[str, tf.Tensor]:
    """The row of a batch that belongs to a draw (3,) int64."""

    def load(numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        image, targets = loader.load(*(int(number) for number in numbers))
        return image, *targets

    types = (tf.float32, tf.float32, tf.int32, tf.uint8, tf.float32, tf.float32)
    image, *objects = tf.numpy_function(load, [draw], types, stateful=False)
    config = loader.data_config
    side = config.mask_crop_size if config.masks else 0
    joints = config.keypoints.number if config.keypoints else 0
    row = {
        "images": tf.ensure_shape(image, (None, None, loader.input_config.channels)),
        "image_sizes": tf.ensure_shape(tf.shape(image)[:2], (2,)),
        "image_index": tf.cast(draw[1], tf.int32),
        "number": tf.shape(objects[0])[0],
    }
    shapes = ((None, 4), (None,), (None, side, side), (None, 4), (None, joints, 3))
    for name, values, shape in zip(Targets._fields, objects, shapes):
        row[name] = tf.ensure_shape(values, shape)
    return row


def _options(workers: int) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = workers
    # `shard` says what this worker reads; a strategy must not divide it again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
