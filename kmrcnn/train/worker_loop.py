"""`fit` for several workers.

Keras's own `fit` fails under `MultiWorkerMirroredStrategy` for inputs that are dictionaries (it
reduces a batch it cannot, keras#20585 and #20329). This loop takes the same steps, calls the same
callbacks and writes the same logs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


class WorkerLostError(OSError):
    """Another worker went away; all have to be started again, and resume."""


def fit_workers(
    model: Any,
    strategy: tf.distribute.Strategy,
    train_data: tf.data.Dataset,
    validation_data: tf.data.Dataset | None = None,
    *,
    epochs: int,
    steps_per_epoch: int,
    initial_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> keras.callbacks.History:
    """Trains a model, the same steps at the same time in every worker.

    Args:
        model: Made and compiled in the strategy's scope.
        strategy: For several workers.
        train_data: This worker's batches, without end.
        validation_data: All batches, the same in every worker.
        epochs: Number of the last epoch.
        steps_per_epoch: Batches of `train_data` per epoch.
        initial_epoch: Epochs done before.
        callbacks: The same in every worker.
        verbose: As in `fit`.

    Returns:
        The history, as `fit` gives it.

    Raises:
        WorkerLostError: Another worker ended or cannot be reached.
    """
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    calls = keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=1 if verbose == "auto" else verbose,
        epochs=epochs,
        steps=steps_per_epoch,
    )
    try:
        _run(model, strategy, train_data, validation_data, calls, initial_epoch)
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        raise WorkerLostError(
            "Another worker was lost. Start all workers again with --resume: they go on from the "
            f"last epoch's snapshot. ({_first_line(error)})"
        ) from error
    return model.history


def _run(model, strategy, train_data, validation_data, calls, initial_epoch: int) -> None:
    train_step = _whole_step(model.train_step, strategy)
    test_step = _whole_step(model.test_step, strategy)
    batches = iter(_for_each_worker(strategy, train_data))
    model.stop_training = False
    calls.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch in range(initial_epoch, calls.params["epochs"]):
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        for step in range(calls.params["steps"]):
            calls.on_train_batch_begin(step)
            logs = _numbers(train_step(batches))
            calls.on_train_batch_end(step, logs)
        if validation_data is not None:
            logs = logs | _validate(model, test_step, _for_each_worker(strategy, validation_data))
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_variables)
    calls.on_train_end(logs)


def _whole_step(step: Callable, strategy: tf.distribute.Strategy) -> Callable:
    """A step on all replicas, as a function of an iterator: the means of their logs."""

    @tf.function
    def run(batches):
        logs = strategy.run(step, args=(next(batches),))
        mean = tf.distribute.ReduceOp.MEAN
        return {name: strategy.reduce(mean, value, axis=None) for name, value in logs.items()}

    return run


def _validate(model, test_step, batches) -> dict[str, float]:
    model.reset_metrics()
    logs: dict[str, float] = {}
    iterator = iter(batches)
    while True:
        try:
            logs = _numbers(test_step(iterator))
        except (StopIteration, tf.errors.OutOfRangeError):
            return {f"val_{name}": value for name, value in logs.items()}


def _for_each_worker(strategy: tf.distribute.Strategy, batches: tf.data.Dataset):
    return strategy.distribute_datasets_from_function(lambda context: batches)


def _numbers(logs: dict[str, tf.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
