"""Callbacks: AP in the logs, best weights, the guard, the history, pictures for TensorBoard."""

import importlib.util
import json
import math

import keras
import numpy as np
import pytest

from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.train.callbacks import (
    CocoEvaluation,
    HistoryFile,
    KeepBest,
    NonFiniteGuard,
    NonFiniteLossError,
    PredictionImages,
    mode_of,
)
from kmrcnn.train.plain_copy import PlainCopy
from tests.tiny import CLASS_NAMES, tiny_model


@pytest.fixture(scope="module")
def model():
    model = tiny_model()
    model.compile(keras.optimizers.SGD(0.25), jit_compile=False)
    return model


@pytest.fixture(scope="module")
def scenes():
    return SyntheticScenes(3, (96, 128), seed=1, classes=CLASS_NAMES)


def attached(callback, model, epochs=5):
    callback.set_params({"epochs": epochs})
    callback.set_model(model)
    return callback


def test_ap_is_in_the_logs_of_the_callbacks_after_it(model, scenes):
    logs = {"loss": 1.0}
    attached(CocoEvaluation(scenes, progress=False), model).on_epoch_end(0, logs)
    assert {"loss", "val_box_ap", "val_box_ap50", "val_mask_ap", "val_mask_ap75"} <= set(logs)
    assert 0.0 <= logs["val_mask_ap"] <= logs["val_mask_ap50"] <= 1.0


@pytest.mark.parametrize("every,measured", [(1, {0, 1, 2, 3, 4}), (2, {1, 3, 4}), (9, {4})])
def test_ap_is_measured_every_so_many_epochs_and_after_the_last(
    model, scenes, every, measured, monkeypatch
):
    class Result:
        metrics = {"box_ap": 0.5}

    monkeypatch.setattr("kmrcnn.eval.evaluate.evaluate", lambda *_, **__: Result)
    evaluation = attached(CocoEvaluation(scenes, every), model, epochs=5)
    seen = set()
    for epoch in range(5):
        logs = {}
        evaluation.on_epoch_end(epoch, logs)
        seen |= {epoch} if logs == {"val_box_ap": 0.5} else set()
    assert seen == measured


@pytest.mark.parametrize(
    "monitor,values,kept",
    [
        ("val_mask_ap", [0.2, 0.1, 0.3, 0.3, None, math.nan], [0, 2]),
        ("val_loss", [2.0, 2.5, math.nan, 1.0], [0, 3]),
    ],
)
def test_the_best_epochs_are_kept(tmp_path, model, monitor, values, kept):
    keep = attached(KeepBest(tmp_path / "best.keras", PlainCopy(model), monitor), model)
    written = []
    keep.copy.save = lambda path: written.append(epoch)
    for epoch, value in enumerate(values):
        keep.on_epoch_end(epoch, {} if value is None else {monitor: value})
    assert written == kept


def test_the_kept_file_is_a_whole_model(tmp_path, model):
    keep = attached(KeepBest(tmp_path / "best.keras", PlainCopy(model), "val_loss"), model)
    keep.on_epoch_end(0, {"val_loss": 1.0})
    again = keras.models.load_model(tmp_path / "best.keras")
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]
    for got, want in zip(again.weights, model.weights):
        np.testing.assert_array_equal(got, want)


def test_a_plain_copy_has_the_averaged_weights():
    model = tiny_model()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    kernel = model.rpn.deltas.kernel
    model.optimizer.apply([keras.ops.ones_like(w) for w in model.trainable_variables])
    copied = PlainCopy(model).refresh().rpn.deltas.kernel
    # Keras's average starts at the first value after an update.
    np.testing.assert_allclose(copied, kernel, atol=1e-6)
    before = np.asarray(kernel)
    model.optimizer.apply([keras.ops.ones_like(w) for w in model.trainable_variables])
    copied = PlainCopy(model).refresh().rpn.deltas.kernel
    np.testing.assert_allclose(copied, (before + np.asarray(kernel)) / 2, atol=1e-6)


def test_the_guard_names_losses_batch_and_pictures(model):
    guard = attached(NonFiniteGuard(lambda step: [f"picture-of-step-{step}"], step=40), model)
    guard.on_epoch_begin(4)
    guard.on_train_batch_end(0, {"loss": 1.0, "loss_mask": 0.5})
    with pytest.raises(NonFiniteLossError) as caught:
        guard.on_train_batch_end(1, {"loss": math.nan, "loss_mask": math.inf, "loss_box": 1.0})
    for part in ("`loss` is nan", "`loss_mask` is inf", "epoch 5, batch 2", "picture-of-step-41"):
        assert part in str(caught.value)
    assert "loss_box" not in str(caught.value)


def test_the_history_is_a_file_of_rows_with_the_learning_rate(tmp_path, model):
    history = attached(HistoryFile(tmp_path / "history.json"), model)
    history.on_epoch_end(0, {"loss": np.float32(2.0)})
    history.on_epoch_end(1, {"loss": 1.5, "val_box_ap": 0.25})
    assert json.loads((tmp_path / "history.json").read_text()) == [
        {"epoch": 1, "learning_rate": 0.25, "loss": 2.0},
        {"epoch": 2, "learning_rate": 0.25, "loss": 1.5, "val_box_ap": 0.25},
    ]


def test_pictures_for_tensorboard(tmp_path, model, scenes):
    pytest.importorskip("tensorboard")
    pictures = PredictionImages(tmp_path, scenes, PlainCopy(model), number=2)
    attached(pictures, model).on_epoch_end(0)
    (events,) = tmp_path.iterdir()
    content = events.read_bytes()
    assert b"prediction_0" in content and b"prediction_1" in content
    assert content.count(b"\x89PNG") == 2


def test_pictures_without_tensorboard_are_an_error_that_says_what_to_install(
    tmp_path, model, scenes, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        PredictionImages(tmp_path, scenes, PlainCopy(model))


@pytest.mark.parametrize("name,mode", [("val_mask_ap", "max"), ("val_loss_mask", "min")])
def test_losses_are_better_when_lower(name, mode):
    assert mode_of(name) == mode
