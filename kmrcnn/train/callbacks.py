"""What happens between the steps of a run: AP in the logs, the best weights, a guard against NaN,
the run's history, pictures of predictions.

Early stopping, learning rates that follow a plateau, the progress bar and TensorBoard's scalars are
Keras's own callbacks, and work on the names that are put into the logs here.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kmrcnn.data.example import Example
from kmrcnn.data.files import written_aside
from kmrcnn.train.plain_copy import PlainCopy

if TYPE_CHECKING:
    from kmrcnn.eval.evaluate import EvaluationResult


class NonFiniteLossError(ValueError):
    """A loss was NaN or infinite."""


class CocoEvaluation(keras.callbacks.Callback):
    """Measures AP after epochs and puts `val_box_ap`, `val_mask_ap`, ... into the logs.

    It has to stand before the callbacks that read these names.

    Args:
        dataset: The examples to measure on.
        every: Epochs between two measurements; the last epoch is always measured.
        copy: Gives the model to measure; None measures the model in training.
        limit: Only the first so many pictures; None: all.
        progress: Show a progress bar.

    Attributes:
        result: The last `EvaluationResult`, with the AP of each class; None before the first.
    """

    def __init__(
        self,
        dataset: Sequence[Example],
        every: int = 1,
        copy: PlainCopy | None = None,
        limit: int | None = None,
        progress: bool = True,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: {every}")
        self.dataset = dataset
        self.every = every
        self.copy = copy
        self.limit = limit
        self.progress = progress
        self.result: EvaluationResult | None = None

    def on_epoch_end(self, epoch, logs=None):
        from kmrcnn.eval.evaluate import evaluate

        last = epoch + 1 == self.params.get("epochs")
        if logs is None or ((epoch + 1) % self.every and not last):
            return
        model = self.model if self.copy is None else self.copy.refresh()
        self.result = evaluate(model, self.dataset, limit=self.limit, progress=self.progress)
        metrics = self.result.metrics
        logs.update({f"val_{name}": float(value) for name, value in metrics.items()})


class KeepBest(keras.callbacks.Callback):
    """Writes the model whenever a logged number is better than ever.

    Args:
        path: A .keras file.
        copy: What is written.
        monitor: Name in the logs, such as "val_mask_ap"; epochs without it are passed over.
        writes: False for workers that leave the writing to their chief.
    """

    def __init__(self, path: Path, copy: PlainCopy, monitor: str, writes: bool = True):
        super().__init__()
        self.path = path
        self.copy = copy
        self.monitor = monitor
        self.writes = writes
        self.sign = -1.0 if mode_of(monitor) == "min" else 1.0
        self.best: float | None = None

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.monitor)
        if value is None or not math.isfinite(value):
            return
        if self.best is not None and self.sign * value <= self.sign * self.best:
            return
        self.best = float(value)
        if self.writes:
            self.copy.save(self.path)


class NonFiniteGuard(keras.callbacks.Callback):
    """Stops a run whose loss is no longer a number, before anything is saved.

    Args:
        image_ids: Step -> names of the pictures of its batch, for the message.
        step: Steps done before this process started.

    Raises:
        NonFiniteLossError: With the losses concerned, the epoch, the batch and its pictures.
    """

    def __init__(self, image_ids: Callable[[int], list[Any]] | None = None, step: int = 0):
        super().__init__()
        self.image_ids = image_ids
        self.step = step
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        # The logs are means over the epoch so far: they turn with the first such batch.
        bad = {k: float(v) for k, v in (logs or {}).items() if not np.isfinite(v)}
        if bad:
            losses = ", ".join(f"`{name}` is {value}" for name, value in bad.items())
            pictures = f" Pictures: {self.image_ids(self.step)}." if self.image_ids else ""
            raise NonFiniteLossError(
                f"{losses} in epoch {self.epoch + 1}, batch {batch + 1}.{pictures} Nothing was "
                "saved after the last good epoch. `kmrcnn data check` finds bad annotations; a "
                "lower learning rate or `train.optimizer.global_clipnorm` tames good ones."
            )
        self.step += 1


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch and its last learning rate to a JSON file, a list of rows.

    Args:
        path: The file.
        writes: False for workers that leave the writing to their chief.
    """

    def __init__(self, path: Path, writes: bool = True):
        super().__init__()
        self.path = path
        self.writes = writes
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self.rows = [*self.rows, {"epoch": epoch + 1, "learning_rate": rate} | numbers]
        if self.writes:
            with written_aside(self.path) as aside:
                aside.write_text(json.dumps(self.rows, indent=1))


class PredictionImages(keras.callbacks.Callback):
    """Draws what the model finds in a few pictures, for TensorBoard's image page.

    Args:
        folder: Of the event files.
        dataset: The first `number` pictures of it are drawn.
        copy: Gives the model.
        number: Of pictures.
        every: Epochs between two drawings.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Sequence[Example],
        copy: PlainCopy,
        number: int = 4,
        every: int = 1,
    ):
        super().__init__()
        if not has_tensorboard():
            raise ImportError("Pictures for TensorBoard need it: pip install tensorboard")
        self.folder = folder
        self.dataset = dataset
        self.copy = copy
        self.number = min(number, len(dataset))
        self.every = every
        self._writer = None

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        import tensorflow as tf

        from kmrcnn.predictor import Predictor
        from kmrcnn.visualize.draw import draw_detections

        predictor = Predictor(self.copy.refresh())
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder))
        with self._writer.as_default(step=epoch + 1):
            for index in range(self.number):
                image = self.dataset[index].image
                picture = draw_detections(image, predictor.predict(image))
                tf.summary.image(f"prediction_{index}", picture[None])
        self._writer.flush()


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed, without importing it."""
    return importlib.util.find_spec("tensorboard") is not None


def mode_of(monitor: str) -> str:
    """Whether more of a logged number is better: "min" for losses, else "max"."""
    return "min" if "loss" in monitor else "max"
