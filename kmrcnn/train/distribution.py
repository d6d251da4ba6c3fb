"""Several devices or machines: which strategy a run uses."""

from __future__ import annotations

import json
import os
from typing import Any, Literal, NamedTuple

import tensorflow as tf

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker"]


class Worker(NamedTuple):
    """This process among those of a run."""

    index: int = 0
    number: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes files."""
        return self.index == 0


def this_worker() -> Worker:
    """What TF_CONFIG says: {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker",
    "index": 0}}. Without it there is one worker.

    Raises:
        ValueError: It cannot be read, or names other kinds of task than workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return Worker()
    try:
        config = json.loads(text)
        addresses = config["cluster"]["worker"]
        worker = Worker(int(config["task"]["index"]), len(addresses))
        usable = config["task"]["type"] == "worker" and set(config["cluster"]) == {"worker"}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG cannot be read. Received: {text!r}") from error
    if not usable or not 0 <= worker.index < worker.number:
        raise ValueError(
            f"TF_CONFIG must name workers only, and this one's index among them. Received: {text!r}"
        )
    return worker


def make_strategy(name: StrategyName = "auto") -> tf.distribute.Strategy | None:
    """The strategy of that name; None for one device.

    TensorFlow wants the one for several workers to be made before it computes anything.

    Args:
        name: "auto": several workers if TF_CONFIG names several, all GPUs if there are several,
            else one device. "mirrored" without GPUs takes the logical CPU devices.
    """
    if name == "auto":
        several_gpus = len(tf.config.list_logical_devices("GPU")) > 1 if not _many() else False
        name = "multi_worker" if _many() else "mirrored" if several_gpus else "one_device"
    if name == "one_device":
        return None
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    raise ValueError(
        "`name` must be one of ['auto', 'one_device', 'mirrored', 'multi_worker']. "
        f"Received: {name!r}"
    )


def spreadable(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches as a strategy can split them: Keras averages one over the replicas to learn its
    shapes, which booleans do not allow.
    """

    def numbers_for_booleans(batch: dict[str, Any]) -> dict[str, Any]:
        targets = batch["targets"]
        return {**batch, "targets": {**targets, "valid": tf.cast(targets["valid"], tf.uint8)}}

    return batches.map(numbers_for_booleans)


def _many() -> bool:
    return this_worker().number > 1
