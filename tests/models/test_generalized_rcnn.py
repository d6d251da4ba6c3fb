"""The whole model as a Keras model: shapes, saving, training, variants, backends."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest.mock

import keras
import numpy as np
import pytest

from kmrcnn.config.schema import BackboneConfig, BoxConfig, MaskConfig, NeckConfig, PoolerConfig
from kmrcnn.custom_ops import roi_align
from kmrcnn.models import build
from kmrcnn.models.build import build_model
from tests.conftest import ROOT
from tests.layer_check import dtype_policy
from tests.tiny import tiny_config, tiny_inputs, tiny_model, tiny_targets


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def predict(model, inputs) -> dict[str, np.ndarray]:
    return {name: np.asarray(v) for name, v in model.predict_on_batch(inputs).items()}


def assert_equal_outputs(got, want, atol=1e-4):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(
            np.asarray(got[name], "float32"), np.asarray(want[name], "float32"), atol=atol
        )


def test_outputs_have_the_documented_shapes(model):
    inputs = tiny_inputs()
    outputs = predict(model, inputs)
    shapes = {name: (value.shape, str(value.dtype)) for name, value in outputs.items()}
    assert shapes == {
        "boxes": ((2, 12, 4), "float32"),
        "scores": ((2, 12), "float32"),
        "classes": ((2, 12), "int32"),
        "valid": ((2, 12), "bool"),
        "masks": ((2, 12, 28, 28), "float32"),
    }
    assert {name: tuple(value.shape) for name, value in model.output.items()} == {
        name: (None, *shape[1:]) for name, (shape, _) in shapes.items()
    }
    valid, boxes = outputs["valid"], outputs["boxes"]
    assert valid.any()
    limits = inputs["image_sizes"][:, None, ::-1]
    assert (boxes >= 0).all() and (boxes[..., 2:] <= limits).all()
    assert (np.diff(outputs["scores"], axis=1)[valid[:, 1:]] <= 0).all()  # best first
    assert (outputs["masks"][~valid] == 0).all()


@pytest.mark.parametrize("canvas", [(64, 64), (96, 160), (128, 96)])
def test_any_canvas_and_batch(model, canvas):
    sizes = [(canvas[0], canvas[1]), (canvas[0] - 10, canvas[1] // 2), (40, 33)]
    outputs = predict(model, tiny_inputs(sizes, canvas))
    assert outputs["boxes"].shape == (3, 12, 4)
    assert np.isfinite(outputs["boxes"]).all()


def test_pictures_of_a_batch_do_not_see_each_other(model):
    both = tiny_inputs()
    together = predict(model, both)
    for i in range(2):
        alone = predict(model, {name: value[i : i + 1] for name, value in both.items()})
        assert_equal_outputs(alone, {k: v[i : i + 1] for k, v in together.items()}, atol=1e-3)


def test_padding_does_not_matter_to_the_network_input(model):
    inputs = tiny_inputs(sizes=[(60, 70)])
    inputs["images"][0, 60:] = 99.0  # rubbish in the padding
    clean = tiny_inputs(sizes=[(60, 70)])
    assert_equal_outputs(predict(model, inputs), predict(model, clean))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_save_and_reload(model, tmp_path, suffix):
    path, inputs = tmp_path / f"model{suffix}", tiny_inputs()
    if suffix == ".keras":
        model.save(path)
        again = keras.models.load_model(path)
        assert again.config == model.config
    else:
        model.save_weights(path)
        again = build_model(model.config)
        again.load_weights(path)
    assert_equal_outputs(predict(again, inputs), predict(model, inputs))


def test_summary_and_plot(model, tmp_path, capsys):
    model.summary()
    text = capsys.readouterr().out
    for part in ("normalize", "backbone", "neck", "rpn", "roi_heads"):
        assert part in text
    try:
        keras.utils.plot_model(model, tmp_path / "model.png", show_shapes=True)
    except ImportError as error:
        pytest.skip(f"plotting needs pydot and graphviz: {error}")
    assert (tmp_path / "model.png").stat().st_size > 1000


def test_sub_model(model):
    trunk = keras.Model(model.inputs, model.get_layer("backbone").output)
    shapes = [tuple(value.shape) for value in trunk(tiny_inputs())]
    assert shapes == [(2, 24, 32, 8), (2, 12, 16, 16), (2, 6, 8, 32), (2, 3, 4, 64)]


VARIANTS = {
    "faster_rcnn": {"mask": None},
    "adaptive_sampling": {"pooler": PoolerConfig(sampling_ratio=0)},
    "class_agnostic": {
        "box": BoxConfig(
            fc_channels=32, max_detections=12, class_agnostic=True, score_threshold=0.1
        ),
        "mask": MaskConfig(num_convs=1, channels=16, class_agnostic=True),
    },
    "4conv1fc_group_norm": {
        "box": BoxConfig(
            num_convs=4,
            conv_channels=16,
            num_fcs=1,
            fc_channels=32,
            norm="group_norm",
            norm_groups=4,
            max_detections=12,
            score_threshold=0.1,
        ),
        "neck": NeckConfig(channels=16, norm="group_norm", norm_groups=4),
        "mask": MaskConfig(num_convs=2, channels=16, norm="group_norm", norm_groups=4),
    },
    "resnext": {
        "backbone": BackboneConfig(
            blocks=(1, 1, 1, 1),
            stem_channels=8,
            res2_channels=16,
            groups=4,
            width_per_group=2,
            norm="batch_norm",
        )
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_detect_train_and_reload(name, tmp_path):
    model = tiny_model(**VARIANTS[name])
    inputs = tiny_inputs()
    before = predict(model, inputs)
    assert before["valid"].any()
    assert ("masks" in before) == (name != "faster_rcnn")
    losses = model(inputs | {"targets": tiny_targets(inputs)}, training=True)
    assert all(np.isfinite(float(value)) for value in losses.values())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_equal_outputs(predict(again, inputs), predict(model, inputs))


@pytest.mark.parametrize("number", [0, 3])
def test_losses_are_finite_and_have_gradients(number):
    tf = pytest.importorskip("tensorflow")
    model = tiny_model()
    inputs = tiny_inputs()
    inputs["targets"] = tiny_targets(inputs, number)
    with tf.GradientTape() as tape:
        losses = model(inputs, training=True)
        total = sum(losses.values())
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}
    assert all(np.isfinite(float(value)) for value in losses.values())
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    missing = [v.path for v, g in zip(model.trainable_variables, gradients) if g is None]
    assert not missing
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)
    if number == 0:
        assert float(losses["loss_box"]) == float(losses["loss_mask"]) == 0.0


@pytest.mark.parametrize("box", [(5, 5, 6, 6), (127, 95, 128, 96), (5, 5, 5, 9), (9, 9, 5, 5)])
def test_losses_are_finite_for_odd_objects(model, box):
    """One pixel, the last pixel, no area, corners swapped."""
    inputs = tiny_inputs()
    targets = tiny_targets(inputs, 1)
    targets["boxes"][:, 0] = box
    losses = model(inputs | {"targets": targets}, training=True)
    assert all(np.isfinite(float(value)) for value in losses.values())


def test_fit_and_validation_log_every_loss():
    model = tiny_model()
    inputs = tiny_inputs()
    inputs["targets"] = tiny_targets(inputs)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (inputs,)

    model.compile(keras.optimizers.SGD(1e-3, clipnorm=1.0))
    before = np.asarray(model.get_layer("backbone").stem.kernel)
    history = model.fit(Batches(), validation_data=Batches(), epochs=1, verbose=0).history
    names = {"loss", "loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}
    assert set(history) == names | {f"val_{name}" for name in names}
    parts = sum(history[name][0] for name in names - {"loss"})
    assert parts == pytest.approx(history["loss"][0], rel=1e-4)
    assert np.abs(np.asarray(model.get_layer("backbone").stem.kernel) - before).max() > 0


def test_frozen_stages_do_not_train():
    model = tiny_model(
        backbone=BackboneConfig(name="resnet18", stem_channels=8, res2_channels=8, freeze_at=2)
    )
    trained = {v.path for v in model.trainable_variables}
    assert not any(path.startswith(("backbone/stem", "backbone/res2")) for path in trained)
    assert any(path.startswith("backbone/res3") for path in trained)
    assert not any("norm" in path for path in trained if path.startswith("backbone"))


def test_heads_compute_for_real_boxes_only(model):
    """The pooler of a branch is handed as many boxes as are valid, not as there are slots."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends have static sizes")
    mask = model.roi_heads.branches["mask"]
    pooler = mask.pooler
    mask.pooler = unittest.mock.Mock(wraps=pooler, output_size=pooler.output_size)
    try:
        inputs = tiny_inputs()
        features = model.neck(
            model.backbone(model.normalize(inputs["images"], inputs["image_sizes"]))
        )
        boxes = np.tile(np.array([10.0, 10, 50, 60], "float32"), (2, 12, 1))
        valid = np.arange(12)[None] < np.array([[5], [0]])
        logits = np.asarray(mask(features, boxes, np.zeros((2, 12), "int32"), valid))
        numbers = [len(call.args[1]) for call in mask.pooler.call_args_list]
    finally:
        mask.pooler = pooler
    assert numbers == [5]
    assert logits.shape == (2, 12, 28, 28)
    assert (logits[0, :5] != 0).any() and (logits[0, 5:] == 0).all() and (logits[1] == 0).all()


def test_picture_without_detections_or_objects():
    """Heads whose channels change: TensorFlow's convolutions fail there on an empty batch."""
    model = tiny_model(
        box=BoxConfig(
            num_convs=2,
            conv_channels=24,
            num_fcs=1,
            fc_channels=32,
            norm="batch_norm",
            max_detections=12,
            score_threshold=1.0,
        ),
        mask=MaskConfig(num_convs=2, channels=24, norm="batch_norm"),
    )
    inputs = tiny_inputs()
    outputs = predict(model, inputs)
    assert not outputs["valid"].any()
    assert all((outputs[name] == 0).all() for name in ("boxes", "scores", "masks"))
    losses = model(inputs | {"targets": tiny_targets(inputs, 0)}, training=True)
    assert float(losses["loss_box"]) == float(losses["loss_mask"]) == 0.0
    assert all(np.isfinite(np.asarray(weight)).all() for weight in model.weights)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(model, policy, monkeypatch):
    inputs = tiny_inputs()
    want = predict(model, inputs)
    seen = set()

    def spy(features, boxes, *arguments):
        seen.add(tuple(keras.backend.standardize_dtype(x.dtype) for x in (features[0], boxes)))
        return roi_align(features, boxes, *arguments)

    monkeypatch.setitem(build.OPERATORS, "roi_align", spy)
    with dtype_policy(policy):
        mixed = tiny_model()
    got = predict(mixed, inputs)
    assert {str(value.dtype) for value in got.values()} == {"float32", "int32", "bool"}
    np.testing.assert_allclose(got["scores"], want["scores"], atol=0.02)
    losses = mixed(inputs | {"targets": tiny_targets(inputs)}, training=True)
    assert all(np.isfinite(float(value)) for value in losses.values())
    # a float16 box would be half a pixel off at x = 1000
    assert seen == {(policy.removeprefix("mixed_"), "float32")}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="backbone.name.*resnet50.*Received: 'vgg'"):
        build_model(tiny_config(backbone=BackboneConfig(name="vgg")))
    with pytest.raises(ValueError, match="neck.name.*fpn.*Received: 'bifpn'"):
        build_model(tiny_config(neck=NeckConfig(name="bifpn")))


JAX_SCRIPT = """
import sys
import unittest.mock
import numpy as np
from kmrcnn.models.build import build_model
from tests.tiny import tiny_config, tiny_inputs
import keras
assert keras.backend.backend() == "jax"
model = build_model(tiny_config())
model.load_weights(sys.argv[1])
outputs = model.predict_on_batch(tiny_inputs())
np.savez(sys.argv[2], **{k: np.asarray(v) for k, v in outputs.items()})
"""


@pytest.mark.slow
def test_same_detections_under_jax(model, tmp_path):
    pytest.importorskip("jax")
    weights, outputs = tmp_path / "model.weights.h5", tmp_path / "outputs.npz"
    model.save_weights(weights)
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JAX_SCRIPT, str(weights), str(outputs)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    want = predict(model, tiny_inputs())
    got = np.load(outputs)
    np.testing.assert_array_equal(got["valid"], want["valid"])
    np.testing.assert_array_equal(got["classes"], want["classes"])
    np.testing.assert_allclose(got["boxes"], want["boxes"], atol=1e-2)
    np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-4)
    np.testing.assert_allclose(got["masks"], want["masks"], atol=1e-3)
