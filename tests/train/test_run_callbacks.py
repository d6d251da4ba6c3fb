"""The callbacks of a run, and TensorBoard's files."""

import importlib.util
import logging

import keras
import pytest

from kmrcnn.train.distribution import Worker
from kmrcnn.train.plain_copy import PlainCopy
from kmrcnn.train.resume import NEW_RUN
from kmrcnn.train.run_callbacks import Run, make_callbacks
from kmrcnn.train.run_files import RunFiles
from kmrcnn.train.trainer import train
from kmrcnn.train.training_batches import TrainingBatches
from tests.tiny import tiny_config, tiny_model
from tests.train.scenes import DataConfig, experiment, rectangles

DATA = DataConfig(slots=(4,), mask_crop_size=48, workers=1)


@pytest.fixture(scope="module")
def copy():
    return PlainCopy(tiny_model())


def names_of_callbacks(folder, copy, more=(), index=0, **options):
    config = experiment(**options).train
    batches = TrainingBatches(rectangles(4), tiny_config().input, DATA, 2)
    run = Run(config, RunFiles(folder), Worker(index, 2), copy, batches, rectangles(2, seed=1))
    calls = make_callbacks(run, NEW_RUN, 2, more).in_order
    return [type(call).__name__ for call in calls]


def test_the_guard_is_first_then_what_adds_to_the_logs_and_the_snapshot_last(tmp_path, copy):
    pytest.importorskip("tensorboard")
    more = [keras.callbacks.ReduceLROnPlateau()]
    options = {"evaluate_every": 1, "patience": 3, "tensorboard": True}
    assert names_of_callbacks(tmp_path, copy, more, **options) == [
        "NonFiniteGuard",
        "CocoEvaluation",
        "KeepBest",
        "EarlyStopping",
        "ReduceLROnPlateau",
        "TensorBoard",
        "PredictionImages",
        "HistoryFile",
        "Snapshots",
    ]


def test_only_the_chief_writes_for_tensorboard(tmp_path, copy):
    names = names_of_callbacks(tmp_path, copy, index=1, tensorboard=True)
    assert names == ["NonFiniteGuard", "KeepBest", "HistoryFile", "Snapshots"]


def test_a_run_without_tensorboard_says_what_to_install(tmp_path, copy, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        names = names_of_callbacks(tmp_path, copy, tensorboard=True)
    assert "TensorBoard" not in names
    assert "pip install tensorboard, or train.tensorboard=false" in caplog.text


@pytest.mark.slow
def test_tensorboard_gets_losses_twins_rate_ap_and_pictures(tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    class Result:
        metrics = {"box_ap": 0.25, "mask_ap": 0.125}

    monkeypatch.setattr("kmrcnn.eval.evaluate.evaluate", lambda *_, **__: Result)
    options = {"epochs": 1, "steps_per_epoch": 1, "evaluate_every": 1, "tensorboard": True}
    config = experiment(prediction_images=1, **options)
    run = train(config, rectangles(4), rectangles(4, seed=1), tmp_path / "run", verbose=0)

    def tags(part):
        reader = events.EventAccumulator(str(run.files.tensorboard / part))
        return set(reader.Reload().Tags()["tensors"])

    assert {"epoch_loss", "epoch_loss_mask", "epoch_learning_rate"} <= tags("train")
    validated = {"epoch_loss", "epoch_loss_mask", "epoch_mask_ap", "epoch_box_ap"}
    assert validated <= tags("validation")
    assert tags("predictions") == {"prediction_0"}
