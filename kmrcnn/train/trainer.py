"""A run from its configuration to the trained model: `train`.

The way: strategy -> model, weights, freeze plan, optimizer -> batches -> callbacks -> `fit` (or its
equal for several workers) -> files.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kmrcnn.config.train_schema import Experiment, TrainConfig
from kmrcnn.data.example import Example
from kmrcnn.data.pipeline import make_pipeline
from kmrcnn.models import zoo
from kmrcnn.models.build import build_model
from kmrcnn.train.distribution import make_strategy, spreadable, this_worker
from kmrcnn.train.experiments import settle, source_preset
from kmrcnn.train.freezing import freeze
from kmrcnn.train.optimizers import make_optimizer
from kmrcnn.train.plain_copy import PlainCopy
from kmrcnn.train.resume import NEW_RUN, load_snapshot
from kmrcnn.train.run_callbacks import Run, make_callbacks
from kmrcnn.train.run_files import RunFiles
from kmrcnn.train.schedules import make_schedule, scaled_learning_rate
from kmrcnn.train.training_batches import TrainingBatches
from kmrcnn.train.worker_loop import fit_workers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What `train` gives back.

    Attributes:
        model: The trained model, on one device, in float32.
        history: One row of numbers per epoch, those before a resume included.
        files: Where everything was written.
    """

    model: Any
    history: list[dict[str, float]]
    files: RunFiles


def train(
    experiment: Experiment,
    train_data: Sequence[Example],
    validation_data: Sequence[Example] | None = None,
    output: str | Path = "run",
    *,
    resume: bool = False,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    strategy: tf.distribute.Strategy | None = None,
    verbose: int | str = "auto",
) -> TrainedRun:
    """Trains a model.

    Args:
        experiment: Of `load_experiment`; its classes must be those of the data (`for_classes`).
        train_data: Any sequence of examples.
        validation_data: The same; its losses and AP are measured.
        output: Folder of the run's files, see `RunFiles`.
        resume: Go on from the snapshot in `output`, if there is one, with the data, the learning
            rate and the random numbers that an unbroken run would have.
        callbacks: More Keras callbacks. They see the losses and AP in their logs.
        strategy: Of `tf.distribute`; None: what `experiment.train.strategy` says.
        verbose: As in Keras's `fit`.

    Raises:
        ValueError: `output` holds a run already, the data's classes differ from the model's, or a
            setting is impossible with this strategy or data.
        NonFiniteLossError: A loss was NaN or infinite.
        WorkerLostError: Another worker ended.
    """
    worker = this_worker()
    strategy = strategy or make_strategy(experiment.train.strategy)
    files = RunFiles(Path(output))
    files.begin(resume, worker)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    experiment = settle(experiment, train_data, replicas)
    if worker.is_chief:
        files.write_config(experiment)

    config = experiment.train
    batches = TrainingBatches(
        train_data, experiment.model.input, experiment.data, config.batch_size, config.seed, worker
    )
    steps = config.steps_per_epoch or batches.steps_per_pass
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = _make_model(experiment, load=not files.snapshot.exists())
        _compile(model, config, steps)
        restored = load_snapshot(files.snapshot, model) if files.snapshot.exists() else NEW_RUN

    run = Run(config, files, worker, PlainCopy(model), batches, validation_data)
    calls = make_callbacks(run, restored, steps, callbacks)
    if restored["epoch"] < config.epochs and not restored["stopped"]:
        _fit(
            model,
            strategy,
            batches.from_step(restored["epoch"] * steps),
            _validation_batches(experiment, validation_data),
            epochs=config.epochs,
            steps_per_epoch=steps,
            initial_epoch=restored["epoch"],
            callbacks=calls.in_order,
            verbose=verbose,
        )
        if worker.is_chief:
            run.copy.save(files.model)
    return TrainedRun(run.copy.refresh(), calls.history.rows, files)


def _make_model(experiment: Experiment, load: bool) -> Any:
    """Built, with its first weights if wanted, frozen; in the strategy's scope."""
    config = experiment.train
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        model = build_model(experiment.model, experiment.name or "model", config.seed)
    finally:
        keras.config.set_dtype_policy(before)
    if load and experiment.weights is not None:
        _LOG.info("%s", zoo.load_checkpoint(model, source_preset(experiment), experiment.weights))
    freeze(model, config.freeze)
    return model


def _compile(model: Any, config: TrainConfig, steps_per_epoch: int) -> None:
    rate = make_schedule(
        config.schedule,
        scaled_learning_rate(config.optimizer, config.batch_size),
        config.epochs,
        steps_per_epoch / config.optimizer.accumulation,
    )
    unknown = set(config.loss_weights) - set(model.loss_trackers)
    if unknown:
        raise ValueError(
            f"`train.loss_weights` may name {list(model.loss_trackers)}. Received: {unknown}"
        )
    model.loss_weights = dict(config.loss_weights)
    model.compile(make_optimizer(config.optimizer, rate, model.variables), jit_compile=False)


def _validation_batches(
    experiment: Experiment, dataset: Sequence[Example] | None
) -> tf.data.Dataset | None:
    if dataset is None:
        return None
    return make_pipeline(
        dataset,
        experiment.model.input,
        experiment.data,
        batch_size=experiment.train.batch_size,
        training=False,
    )


def _fit(
    model: Any,
    strategy: tf.distribute.Strategy | None,
    train_batches: tf.data.Dataset,
    validation_batches: tf.data.Dataset | None,
    **options: Any,
) -> None:
    if this_worker().number > 1:
        fit_workers(model, strategy, train_batches, validation_batches, **options)
        return
    if strategy is not None:
        train_batches = spreadable(train_batches)
        validation_batches = validation_batches and spreadable(validation_batches)
    # Keras warns that it does not shuffle tf.data.
    model.fit(train_batches, validation_data=validation_batches, shuffle=False, **options)
