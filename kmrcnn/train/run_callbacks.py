"""Which callbacks a run has, and in which order they look at its logs."""

from __future__ import annotations

import importlib.util
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
    mode_of,
)
from kmrcnn.train.distribution import Worker
from kmrcnn.train.plain_copy import PlainCopy
from kmrcnn.train.resume import Snapshots
from kmrcnn.train.run_files import RunFiles
from kmrcnn.train.training_batches import TrainingBatches

_LOG = logging.getLogger(__name__)


class RunCallbacks(NamedTuple):
    """The callbacks of a run."""

    in_order: list[keras.callbacks.Callback]
    history: HistoryFile


def make_callbacks(
    config: TrainConfig,
    files: RunFiles,
    copy: PlainCopy,
    batches: TrainingBatches,
    validation_data: Sequence[Example] | None,
    worker: Worker,
    step: int,
    restored: dict[str, Any] | None,
    more: Iterable[keras.callbacks.Callback],
) -> RunCallbacks:
    """The guard first, then what adds to the logs, what reads them, and the snapshot last.

    Args:
        config: Of the run.
        files: Where they write.
        copy: The model as it is measured and saved.
        batches: Name the pictures of a step.
        validation_data: None: no AP.
        worker: Only the chief writes.
        step: Steps done before.
        restored: State of a snapshot.
        more: The user's callbacks; they see AP and stand before the snapshot.
    """
    calls: list[keras.callbacks.Callback] = [NonFiniteGuard(batches.image_ids, step)]
    measured = validation_data is not None and config.evaluate_every > 0
    if measured:
        calls.append(
            CocoEvaluation(validation_data, config.evaluate_every, copy, progress=worker.is_chief)
        )
    monitor = chosen_monitor(config, measured, validation_data is not None, copy.model.config)
    calls.append(KeepBest(files.best, copy, monitor, writes=worker.is_chief))
    if config.patience:
        calls.append(
            keras.callbacks.EarlyStopping(monitor, patience=config.patience, mode=mode_of(monitor))
        )
    calls += more
    if config.tensorboard and worker.is_chief:
        calls += _tensorboard(config, files, copy, validation_data)
    history = HistoryFile(files.history, writes=worker.is_chief)
    calls.append(history)
    calls.append(Snapshots(files.snapshot, calls, restored, writes=worker.is_chief))
    if restored is not None:
        history.rows = restored["callbacks"]["HistoryFile-0"]["rows"]
    return RunCallbacks(calls, history)


def chosen_monitor(config: TrainConfig, measured: bool, validated: bool, model: Any) -> str:
    """The name in the logs that the best weights are chosen by."""
    if config.monitor != "auto":
        return config.monitor
    if measured:
        return "val_box_ap" if model.mask is None else "val_mask_ap"
    return "val_loss" if validated else "loss"


def _tensorboard(
    config: TrainConfig,
    files: RunFiles,
    copy: PlainCopy,
    validation_data: Sequence[Example] | None,
) -> list[keras.callbacks.Callback]:
    """Scalars, and pictures of predictions; nothing where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        _LOG.warning("No TensorBoard files: pip install tensorboard, or train.tensorboard=false.")
        return []
    calls = [keras.callbacks.TensorBoard(files.tensorboard, write_graph=False)]
    if validation_data is not None and config.prediction_images:
        folder = files.tensorboard / "predictions"
        calls.append(PredictionImages(folder, validation_data, copy, config.prediction_images))
    return calls
