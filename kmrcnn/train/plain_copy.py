"""The model a run has learned so far, as users will have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kmrcnn.data.files import written_aside
from kmrcnn.models.build import build_model


class PlainCopy:
    """A copy of a model in training: on one device, in float32, with the averaged weights if the
    optimizer keeps an average.

    Args:
        model: A compiled `GeneralizedRCNN`.
    """

    def __init__(self, model: Any):
        self.model = model
        self._copy = None

    def refresh(self) -> Any:
        """The copy with the weights of now; always the same object."""
        if self._copy is None:
            before = keras.config.dtype_policy()
            keras.config.set_dtype_policy("float32")
            try:
                self._copy = build_model(self.model.config, name=self.model.name)
            finally:
                keras.config.set_dtype_policy(before)
        averages = averaged_weights(self.model)
        for ours, theirs in zip(self._copy.weights, self.model.weights):
            ours.assign(keras.ops.convert_to_numpy(averages.get(theirs.path, theirs)))
        return self._copy

    def save(self, path: Path) -> None:
        """Writes the copy as a .keras file, whole or not at all."""
        copy = self.refresh()
        with written_aside(path) as aside:
            copy.save(aside)


def averaged_weights(model: Any) -> dict[str, Any]:
    """{path of a weight: its moving average}; empty if the optimizer keeps none."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        return {}
    # Keras offers no public name for the averages; their order is that of the weights in training.
    averages = optimizer._model_variables_moving_average
    return {weight.path: average for weight, average in zip(model.trainable_variables, averages)}
