"""Which callbacks a run has, and in which order they look at its logs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras

from kmrcnn.config.train_schema import TrainConfig
from kmrcnn.data.example import Example
from kmrcnn.train.callbacks import (
    CocoEvaluation,
    HistoryFile,
    KeepBest,
    NonFiniteGuard,
    PredictionImages,
    has_tensorboard,
    mode_of,
)
from kmrcnn.train.distribution import Worker
from kmrcnn.train.plain_copy import PlainCopy
from kmrcnn.train.resume import Snapshots
from kmrcnn.train.run_files import RunFiles
from kmrcnn.train.training_batches import TrainingBatches

_LOG = logging.getLogger(__name__)


class Run(NamedTuple):
    """What callbacks want to know of a run."""

    config: TrainConfig
    files: RunFiles
    worker: Worker  # only the chief writes
    copy: PlainCopy  # the model as it is measured and saved
    batches: TrainingBatches
    validation_data: Sequence[Example] | None


class RunCallbacks(NamedTuple):
    """The callbacks of a run."""

    in_order: list[keras.callbacks.Callback]
    history: HistoryFile


def make_callbacks(
    run: Run,
    restored: dict[str, Any],
    steps_per_epoch: int,
    more: Iterable[keras.callbacks.Callback] = (),
) -> RunCallbacks:
    """The guard first, then what adds to the logs, what reads them, and the snapshot last.

    Args:
        run: The run.
        restored: State of a snapshot, or `NEW_RUN`.
        steps_per_epoch: Steps of an epoch.
        more: The user's callbacks; they see AP.
    """
    config, writes = run.config, run.worker.is_chief
    calls: list[keras.callbacks.Callback] = [
        NonFiniteGuard(run.batches.image_ids, restored["epoch"] * steps_per_epoch)
    ]
    measured = run.validation_data is not None and config.evaluate_every > 0
    if measured:
        calls.append(
            CocoEvaluation(run.validation_data, config.evaluate_every, run.copy, progress=writes)
        )
    validated = run.validation_data is not None
    monitor = chosen_monitor(config, measured, validated, run.copy.model.config)
    calls.append(KeepBest(run.files.best, run.copy, monitor, writes))
    if config.patience:
        calls.append(
            keras.callbacks.EarlyStopping(monitor, patience=config.patience, mode=mode_of(monitor))
        )
    calls += more
    if config.tensorboard and writes:
        calls += _tensorboard(run)
    history = HistoryFile(run.files.history, writes)
    history.rows = restored["callbacks"].get("HistoryFile-0", {}).get("rows", [])
    calls.append(history)
    calls.append(Snapshots(run.files.snapshot, calls, restored, writes))
    return RunCallbacks(calls, history)


def chosen_monitor(config: TrainConfig, measured: bool, validated: bool, model: Any) -> str:
    """The name in the logs that the best weights are chosen by."""
    if config.monitor != "auto":
        return config.monitor
    if measured:
        if model.mask is not None:
            return "val_mask_ap"
        has_joints = model.keypoint is not None and model.keypoint.is_scorable
        return "val_keypoint_ap" if has_joints else "val_box_ap"
    return "val_loss" if validated else "loss"


def _tensorboard(run: Run) -> list[keras.callbacks.Callback]:
    """Scalars, and pictures of predictions; nothing where TensorBoard is not installed."""
    if not has_tensorboard():
        _LOG.warning("No TensorBoard files: pip install tensorboard, or train.tensorboard=false.")
        return []
    folder, number = run.files.tensorboard, run.config.prediction_images
    calls = [keras.callbacks.TensorBoard(folder, write_graph=False)]
    if run.validation_data is not None and number:
        pictures = folder / "predictions"
        calls.append(PredictionImages(pictures, run.validation_data, run.copy, number))
    return calls
