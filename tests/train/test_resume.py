"""Snapshots, and a killed run that goes on as if it had not been."""

import json
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from kmrcnn.config.train_schema import (
    Experiment,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from kmrcnn.train.resume import Snapshots, load_snapshot, save_snapshot
from kmrcnn.train.trainer import train
from tests.conftest import ROOT
from tests.tiny import tiny_config, tiny_model
from tests.train.scenes import DataConfig, rectangles

DATA, VALIDATION = rectangles(8), rectangles(2, seed=1)
EXPERIMENT = Experiment(
    model=tiny_config(),
    data=DataConfig(slots=(4,), mask_crop_size=48, rotation=0.3, workers=2),
    train=TrainConfig(
        epochs=3,
        batch_size=2,
        evaluate_every=0,
        tensorboard=False,
        optimizer=OptimizerConfig(learning_rate=0.05, ema_momentum=0.9, global_clipnorm=5.0),
        schedule=ScheduleConfig(warmup_updates=2, milestones=(1.5,)),
    ),
)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_an_unbroken_one(tmp_path):
    command = [sys.executable, "-m", "tests.train.run_until_killed", str(tmp_path / "killed")]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(json.loads((tmp_path / "killed" / "history.json").read_text())) == 1

    resumed = train(EXPERIMENT, DATA, VALIDATION, tmp_path / "killed", resume=True, verbose=0)
    unbroken = train(EXPERIMENT, DATA, VALIDATION, tmp_path / "unbroken", verbose=0)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    for got, want in zip(resumed.history, unbroken.history):
        assert got.keys() == want.keys()
        for name in want:
            assert got[name] == pytest.approx(want[name], rel=1e-4, abs=1e-4), name
    for got, want in zip(resumed.model.weights, unbroken.model.weights):
        np.testing.assert_allclose(got, want, atol=1e-4)


def compiled(seed=0, optimizer=None):
    model = tiny_model(seed)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_snapshot_holds_weights_optimizer_and_random_states(tmp_path):
    model, other = compiled(), compiled(seed=1)
    for value, variable in enumerate(model.optimizer.variables):
        variable.assign(np.full(variable.shape, value))
    model.rpn.seed_generator.state.assign([7, 9])
    save_snapshot(tmp_path / "s.npz", model, {"epoch": 4})
    assert load_snapshot(tmp_path / "s.npz", other) == {"epoch": 4}
    mine = [*model.variables, *model.optimizer.variables]
    theirs = [*other.variables, *other.optimizer.variables]
    assert len(mine) == len(theirs) > len(model.weights)
    for want, got in zip(mine, theirs):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(other.rpn.seed_generator.state, [7, 9])


def test_a_snapshot_of_another_optimizer_is_refused(tmp_path):
    save_snapshot(tmp_path / "s.npz", compiled(), {})
    with pytest.raises(ValueError, match="another model or optimizer"):
        load_snapshot(tmp_path / "s.npz", compiled(optimizer=keras.optimizers.Adam()))


def test_weights_that_are_not_finite_do_not_replace_a_snapshot(tmp_path):
    model, path = compiled(), tmp_path / "s.npz"
    save_snapshot(path, model, {})
    before = path.read_bytes()
    model.rpn.deltas.bias.assign(np.full(model.rpn.deltas.bias.shape, np.nan))
    with pytest.raises(ValueError, match="rpn/deltas/bias.*not finite"):
        save_snapshot(path, model, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.npz"]


def test_callbacks_remember_across_a_resume(tmp_path):
    model = compiled()
    path = tmp_path / "s.npz"
    stopping = keras.callbacks.EarlyStopping("loss", patience=3)
    stopping.best, stopping.wait = np.float32(0.5), 2
    snapshots = Snapshots(path, [stopping])
    snapshots.set_model(model)
    model.stop_training = False
    snapshots.on_epoch_end(4)
    state = load_snapshot(path, model)
    assert (state["epoch"], state["stopped"]) == (5, False)

    again = keras.callbacks.EarlyStopping("loss", patience=3)
    again.on_train_begin()
    Snapshots(path, [keras.callbacks.Callback(), again], state).on_train_begin()
    assert (again.best, again.wait) == (0.5, 2)


def test_workers_other_than_the_chief_write_nothing(tmp_path):
    snapshots = Snapshots(tmp_path / "s.npz", writes=False)
    snapshots.set_model(compiled())
    snapshots.on_epoch_end(0)
    assert not list(tmp_path.iterdir())
