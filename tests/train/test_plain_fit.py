"""`compile` and `fit` without the trainer: Keras's own callbacks on our losses and AP."""

import keras
import numpy as np
import pytest

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.data.pipeline import make_pipeline
from kmrcnn.eval.coco_evaluator import ClassScores
from kmrcnn.train.callbacks import CocoEvaluation
from tests.tiny import tiny_config, tiny_model
from tests.train.scenes import rectangles

DATA = DataConfig(slots=(4,), mask_crop_size=48, rotation=0.3, workers=1)
TRAIN, VALIDATION = rectangles(4), rectangles(2, seed=1)
STEPS = 2  # of an epoch, with two pictures per batch
LOSSES = {"loss", "loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}


def batches(**options):
    """Endless, so that every epoch of `fit` has its own order and augmentation."""
    options = {"batch_size": 2, "training": True, "epochs": None} | options
    return make_pipeline(TRAIN, tiny_config().input, DATA, **options)


def validation_batches():
    return make_pipeline(VALIDATION, tiny_config().input, DATA, batch_size=2, training=False)


def compiled(rate=0.01):
    model = tiny_model()
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), jit_compile=False)
    return model


class Scripted:
    """Stands for `evaluate`: one AP after the other."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, *_, **__):
        self.metrics = {"mask_ap": self.values.pop(0), "box_ap": 0.5}
        self.per_class = [ClassScores("coin", 1, 3, {"mask_ap": 0.5})]
        return self


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run with rising, then falling AP, watched by three callbacks of Keras."""
    folder = tmp_path_factory.mktemp("fit")
    model = compiled()
    evaluation = CocoEvaluation(VALIDATION, progress=False)
    watchers = [
        keras.callbacks.ReduceLROnPlateau("val_mask_ap", 0.1, patience=1, mode="max"),
        keras.callbacks.ModelCheckpoint(
            folder / "{epoch}.keras", "val_mask_ap", mode="max", save_best_only=True
        ),
        keras.callbacks.EarlyStopping("val_mask_ap", patience=2, mode="max"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmrcnn.eval.evaluate.evaluate", Scripted(0.1, 0.3, 0.2, 0.3, 0.9))
        history = model.fit(
            batches(),
            validation_data=validation_batches(),
            epochs=5,
            steps_per_epoch=STEPS,
            callbacks=[evaluation, *watchers],
            shuffle=False,
            verbose=0,
        )
    return history.history, folder, evaluation


def test_every_loss_has_its_validation_twin_in_the_logs(fitted):
    history, _, _ = fitted
    assert set(history) >= LOSSES | {f"val_{name}" for name in LOSSES}
    for name in LOSSES:
        assert np.isfinite(history[name]).all() and np.isfinite(history[f"val_{name}"]).all()
    parts = sum(np.array(history[f"val_{name}"]) for name in LOSSES - {"loss"})
    np.testing.assert_allclose(history["val_loss"], parts, rtol=1e-5)


def test_early_stopping_on_ap(fitted):
    history, _, _ = fitted
    assert history["val_mask_ap"] == [0.1, 0.3, 0.2, 0.3]  # two epochs without a better one


def test_model_checkpoint_on_ap(fitted):
    _, folder, _ = fitted
    assert sorted(file.name for file in folder.iterdir()) == ["1.keras", "2.keras"]
    assert keras.models.load_model(folder / "2.keras").config == tiny_config()


def test_reduced_learning_rates_on_ap(fitted):
    history, _, _ = fitted
    np.testing.assert_allclose(history["learning_rate"], [1e-2, 1e-2, 1e-2, 1e-3], rtol=1e-5)


def test_ap_per_class_stays_with_the_callback(fitted):
    evaluation = fitted[2]
    assert [scores.name for scores in evaluation.result.per_class] == ["coin"]


def state(model):
    """All that is learned and all that the optimizer remembers."""
    variables = (*model.weights, *model.optimizer.variables)
    return [keras.ops.convert_to_numpy(v) for v in variables if "seed" not in v.path]


class Interrupt(keras.callbacks.Callback):
    """Ends a run at the beginning of its second epoch, and keeps what it was then."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.seen = state(self.model)
            raise KeyboardInterrupt


@pytest.mark.slow
def test_backup_and_restore_brings_back_weights_optimizer_and_epoch(tmp_path):
    """Not the place in the data and not the state of the random sampling: that is `resume`."""
    options = {"steps_per_epoch": STEPS, "epochs": 2, "shuffle": False, "verbose": 0}
    before, after = Interrupt(), Interrupt()
    for model, interrupt in ((compiled(), before), (compiled(rate=0.5), after)):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        with pytest.raises(KeyboardInterrupt):
            model.fit(batches(), callbacks=[backup, interrupt], **options)
    # The second one began with the second epoch: it never took a step with its own rate.
    assert len(before.seen) == len(after.seen) > 0
    for got, want in zip(after.seen, before.seen):
        np.testing.assert_array_equal(got, want)
