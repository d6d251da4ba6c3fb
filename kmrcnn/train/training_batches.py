"""The batches of a run by number: step 0, 1, 2, ... over all epochs of the data.

What a step sees depends on the seed and its number alone, so that a run can be taken up anywhere,
and the pictures of a step can be named afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.example import Example
from kmrcnn.data.pipeline import make_pipeline, make_plan, steps_per_epoch


class TrainingBatches:
    """Endless, shuffled, augmented batches of a dataset.

    Args:
        dataset: The examples.
        input_config: The model's input settings.
        data_config: Augmentation, batches, sampling.
        batch_size: Pictures per step, all workers together.
        seed: Of order and augmentation.
        shard: (number of this worker, number of workers).

    Attributes:
        steps_per_pass: Steps that see every picture once.

    Raises:
        ValueError: `batch_size` is no multiple of the number of workers, or larger than the
            dataset.
    """

    def __init__(
        self,
        dataset: Sequence[Example],
        input_config: InputConfig,
        data_config: DataConfig,
        batch_size: int,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        if batch_size % shard[1]:
            raise ValueError(
                f"`batch_size` must be a multiple of the number of workers ({shard[1]}). "
                f"Received: {batch_size}"
            )
        if batch_size > len(dataset):
            raise ValueError(
                "`batch_size` must not be above the number of pictures. Received: "
                f"{batch_size}, with {len(dataset)} pictures"
            )
        self.dataset = dataset
        self._arguments = (dataset, input_config, data_config)
        self._options = {"batch_size": batch_size // shard[1], "training": True, "shard": shard}
        self._plan = make_plan(
            dataset, data_config, batch_size=batch_size, training=True, seed=seed
        )
        self._seed = seed
        self.steps_per_pass = steps_per_epoch(dataset, data_config, **self._options)

    def from_step(self, step: int) -> tf.data.Dataset:
        """This worker's batches from step number `step` on; see `make_pipeline`."""
        epoch, first_step = divmod(step, self.steps_per_pass)
        position = {"epoch": epoch, "epochs": None, "first_step": first_step}
        return make_pipeline(*self._arguments, **self._options, **position, seed=self._seed)

    def image_ids(self, step: int) -> list[Any]:
        """The dataset's names of the pictures of step number `step`, all workers' together."""
        epoch, batch = divmod(step, self.steps_per_pass)
        return [image_id(self.dataset, draw.index) for draw in self._plan.batches(epoch)[batch]]


def image_id(dataset: Sequence[Example], index: int) -> Any:
    """A dataset's name of a picture, without reading the picture if possible."""
    records = getattr(dataset, "records", None)
    return (records or dataset)[index].image_id
