"""Snapshots of a run, from which it goes on as if nothing had happened.

A snapshot is one file, written whole or not at all: all variables of model and optimizer, the
states of the random generators among them, and what callbacks remember.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kmrcnn.data.files import written_aside

# Attributes in which Keras's callbacks, and ours, keep what they have seen.
CALLBACK_STATE = ("best", "best_epoch", "wait", "cooldown_counter", "rows")

# State of a run that has no snapshot yet; see `load_snapshot`.
NEW_RUN: dict[str, Any] = {"epoch": 0, "stopped": False, "callbacks": {}}


class Snapshots(keras.callbacks.Callback):
    """Writes a snapshot after every epoch. It has to be the last of the callbacks.

    Args:
        path: The file.
        others: The other callbacks, whose memory is kept too.
        restored: The state that `load_snapshot` gave back, or `NEW_RUN`.
        writes: False for workers that leave the writing to their chief.

    Raises:
        ValueError: A weight is not finite; the snapshot before stays.
    """

    def __init__(
        self,
        path: Path,
        others: Sequence[keras.callbacks.Callback] = (),
        restored: dict[str, Any] = NEW_RUN,
        writes: bool = True,
    ):
        super().__init__()
        self.path = path
        self.others = list(others)
        self.restored = restored
        self.writes = writes

    def on_train_begin(self, logs=None):
        for name, callback in _by_name(self.others).items():
            for attribute, value in self.restored["callbacks"].get(name, {}).items():
                setattr(callback, attribute, value)

    def on_epoch_end(self, epoch, logs=None):
        if self.writes:
            named = _by_name(self.others)
            callbacks = {name: _callback_state(callback) for name, callback in named.items()}
            state = {"epoch": epoch + 1, "stopped": self.model.stop_training}
            save_snapshot(self.path, self.model, state | {"callbacks": callbacks})


def save_snapshot(path: Path, model: Any, state: dict[str, Any]) -> None:
    """Writes the variables of a compiled model and its optimizer, and a state that JSON can hold.

    Raises:
        ValueError: A variable is not finite; nothing is written.
    """
    arrays = {}
    for index, variable in enumerate(_variables(model)):
        value = keras.ops.convert_to_numpy(variable)
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ValueError(
                f"`{variable.path}` is not finite; the run stops here and the last good snapshot "
                "stays. A lower learning rate or `train.optimizer.global_clipnorm` may help."
            )
        arrays[_key(index, variable)] = value
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, state=np.array(json.dumps(state)), **arrays)


def load_snapshot(path: Path, model: Any) -> dict[str, Any]:
    """Puts the variables of a snapshot into a compiled model of the same make.

    Args:
        path: Of `save_snapshot`.
        model: Compiled; its optimizer is built if it is not.

    Returns:
        The state: {"epoch": epochs done, "stopped": whether a callback ended the run, "callbacks":
        what they remember}.

    Raises:
        ValueError: The snapshot is of another model or optimizer.
    """
    model.optimizer.build(model.trainable_variables)
    variables = {_key(i, variable): variable for i, variable in enumerate(_variables(model))}
    with np.load(path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    state = json.loads(str(values.pop("state")))
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    if shapes != {key: value.shape for key, value in values.items()}:
        raise ValueError(
            f"{str(path)!r} is a snapshot of another model or optimizer. Resume with the "
            "configuration that the run began with, or give a new output folder."
        )
    for key, variable in variables.items():
        variable.assign(values[key])
    return state


def _variables(model: Any) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _key(index: int, variable: keras.Variable) -> str:
    """Without the names of layers, which Keras numbers through in a process."""
    return f"{index}_{variable.name}"


def _by_name(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """By class and, among those of one class, number: a resumed run may have others beside them."""
    named: dict[str, keras.callbacks.Callback] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        number = sum(name.startswith(f"{kind}-") for name in named)
        named[f"{kind}-{number}"] = callback
    return named


def _callback_state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    state = {name: getattr(callback, name) for name in CALLBACK_STATE if hasattr(callback, name)}
    return {name: _plain_number(value) for name, value in state.items()}


def _plain_number(value: Any) -> Any:
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value
