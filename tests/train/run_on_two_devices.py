"""Trains the same on one device and on two logical ones, and writes both results: FILE NORM."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

from kmrcnn.train.trainer import train  # noqa: E402
from tests.train.scenes import experiment, rectangles  # noqa: E402


def main(file: str, norm: str) -> None:
    results = {}
    for name in ("one_device", "mirrored"):
        config = experiment(norm, strategy=name)
        with tempfile.TemporaryDirectory() as folder:
            data = rectangles(8), rectangles(4, seed=1)
            run = train(config, *data, Path(folder) / "run", verbose=0)
        results |= {f"{name}:{weight.path}": weight.numpy() for weight in run.model.weights}
        losses = [[v for k, v in row.items() if "loss" in k] for row in run.history]
        results[f"{name}:losses"] = np.array(losses)
    np.savez(file, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
