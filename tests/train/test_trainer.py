"""A run from its configuration to its files, and what is refused before it begins."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kmrcnn.config.loader import load_experiment
from kmrcnn.config.train_schema import Experiment, OptimizerConfig, ScheduleConfig, TrainConfig
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.train.callbacks import NonFiniteLossError
from kmrcnn.train.experiments import for_classes, source_preset
from kmrcnn.train.run_callbacks import chosen_monitor
from kmrcnn.train.trainer import train
from tests.tiny import CLASS_NAMES, tiny_config, tiny_model
from tests.train.scenes import DataConfig, rectangles

DATA = DataConfig(slots=(16,), mask_crop_size=48, workers=1)


def experiment(**train_options) -> Experiment:
    options = {
        "epochs": 5,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "tensorboard": False,
        "optimizer": OptimizerConfig(learning_rate=0.01, base_batch_size=2),
        "schedule": ScheduleConfig(name="constant", warmup_updates=0),
    } | train_options
    return Experiment(name="tiny", model=tiny_config(), data=DATA, train=TrainConfig(**options))


def scenes(number, seed=0):
    return SyntheticScenes(number, (96, 128), seed=seed, classes=CLASS_NAMES)


class Result:
    metrics = {"box_ap": 0.25, "mask_ap": 0.125}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with constant AP, which early stopping ends, and a plateau callback on it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    plateau = keras.callbacks.ReduceLROnPlateau("val_mask_ap", 0.1, patience=1, mode="max")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmrcnn.eval.evaluate.evaluate", lambda *_, **__: Result)
        config = experiment(patience=2, loss_weights={"loss_mask": 0.5})
        run = train(config, scenes(4), scenes(2, 9), folder, callbacks=[plateau], verbose=0)
    return config, run


def test_a_run_writes_its_files(finished):
    config, run = finished
    names = {file.name for file in run.files.folder.iterdir()}
    assert names == {"config.yaml", "history.json", "snapshot.npz", "best.keras", "model.keras"}
    assert load_experiment(run.files.config) == config
    assert json.loads(run.files.history.read_text()) == run.history
    again = keras.models.load_model(run.files.model)
    for got, want in zip(again.weights, run.model.weights):
        np.testing.assert_array_equal(got, want)


def test_losses_twins_and_ap_are_in_the_history(finished):
    losses = {"loss", "loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}
    for row in finished[1].history:
        twins = {f"val_{name}" for name in losses}
        assert set(row) >= losses | twins | {"val_box_ap", "val_mask_ap", "learning_rate"}
        parts = [row[name] * (0.5 if name == "loss_mask" else 1) for name in losses - {"loss"}]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_keras_callbacks_work_on_ap(finished):
    rows = finished[1].history
    assert len(rows) == 3  # patience 2 after the first
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(0.01) and rates[-1] < 0.0011


def test_a_run_that_was_stopped_stays_so(finished):
    config, run = finished
    again = train(config, scenes(4), scenes(2, 9), run.files.folder, resume=True, verbose=0)
    assert again.history == run.history


def test_a_folder_with_a_run_is_not_overwritten(finished):
    config, run = finished
    with pytest.raises(ValueError, match="holds a run already"):
        train(config, scenes(4), output=run.files.folder)


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(tmp_path):
    wild = OptimizerConfig(learning_rate=1e25, base_batch_size=2)
    with pytest.raises(NonFiniteLossError, match=r"`loss.*Pictures: \['scene-\d', 'scene-\d'\]"):
        train(experiment(optimizer=wild), rectangles(4), output=tmp_path / "run", verbose=0)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["config.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_in_float32_weights(tmp_path, precision):
    config = experiment(precision=precision, epochs=2, steps_per_epoch=4)
    run = train(config, scenes(4), output=tmp_path, verbose=0)
    assert {str(weight.dtype) for weight in run.model.weights} == {"float32"}
    assert run.history[1]["loss"] < run.history[0]["loss"]
    assert keras.config.dtype_policy().name == "float32"


def test_a_run_starts_from_a_weight_file(tmp_path):
    source = tiny_model(seed=5)
    source.save_weights(tmp_path / "start.weights.h5")
    still = OptimizerConfig(learning_rate=1e-12, weight_decay=0.0)
    config = experiment(optimizer=still, epochs=1, steps_per_epoch=1)
    config = dataclasses.replace(config, weights=str(tmp_path / "start.weights.h5"))
    run = train(config, scenes(2), output=tmp_path / "run", verbose=0)
    for got, want in zip(run.model.weights, source.weights):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_data_must_have_the_models_classes(tmp_path):
    class Named(list):
        class_names = ("nucleus",)

    with pytest.raises(ValueError, match="1 classes.*model 5.*for_classes"):
        train(experiment(), Named(rectangles(4)), output=tmp_path)
    fitted = for_classes(experiment(), ["nucleus"], [7])
    assert (fitted.model.num_classes, fitted.model.category_ids) == (1, (7,))


def test_unknown_loss_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="loss_masks"):
        train(experiment(loss_weights={"loss_masks": 1.0}), scenes(4), output=tmp_path)


@pytest.mark.parametrize(
    "options,measured,validated,mask,name",
    [
        ({}, True, True, True, "val_mask_ap"),
        ({}, True, True, False, "val_box_ap"),
        ({}, False, True, True, "val_loss"),
        ({}, False, False, True, "loss"),
        ({"monitor": "val_box_ap50"}, True, True, True, "val_box_ap50"),
    ],
)
def test_what_the_best_model_is_chosen_by(options, measured, validated, mask, name):
    model = tiny_config() if mask else tiny_config(mask=None)
    assert chosen_monitor(TrainConfig(**options), measured, validated, model) == name


def test_the_checkpoints_of_a_training_configuration_are_its_presets():
    assert source_preset(load_experiment("mask_rcnn_balloon")).checkpoints["coco"].mask_ap == 37.2
    assert source_preset(experiment()).checkpoints == {}
