import hashlib
import pickle

import numpy as np
import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import Checkpoint
from kmrcnn.models import zoo
from kmrcnn.weights.canonical import canonical_weights
from kmrcnn.weights.download import cached_path
from kmrcnn.weights.name_map import find_keys
from kmrcnn.weights.sources import SOURCES

COCO = load_preset("mask_rcnn_R_50_FPN_3x")
SMALL = """
model:
  num_classes: 3
  class_names: [cat, dog, cow]
  category_ids: [5, 6, 7]
  backbone: {name: resnet18, blocks: [1, 1, 1, 1], stem_channels: 4, res2_channels: 4}
  neck: {channels: 4}
  box: {pooled_size: 3, fc_channels: 5}
  mask: {pooled_size: 4, num_convs: 1, channels: 4}
checkpoints:
  farm: {format: detectron2, url: "https://weights.invalid/farm/1/model_final_%s.pkl"}
"""


def test_config_of_a_preset_is_its_own_without_arguments():
    assert zoo.preset_config(COCO) == COCO.model
    assert zoo.preset_config(COCO, num_classes=80) == COCO.model


def test_config_for_other_classes():
    config = zoo.preset_config(COCO, class_names=["person", "helmet"])
    assert (config.num_classes, config.class_names) == (2, ("person", "helmet"))
    assert config.category_ids is None
    config = zoo.preset_config(COCO, num_classes=3)
    assert (config.num_classes, config.class_names, config.category_ids) == (3, None, None)
    assert zoo.preset_config(COCO, class_names=COCO.model.class_names) == COCO.model
    with pytest.raises(ValueError, match="2 names.*num_classes=3"):
        zoo.preset_config(COCO, num_classes=3, class_names=["a", "b"])


def test_config_for_other_channels():
    config = zoo.preset_config(COCO, image_channels=1).input
    assert config.channels == 1 and config.mean == pytest.approx((114.495,))
    config = zoo.preset_config(COCO, image_channels=5).input
    assert config.mean == (103.53, 116.28, 123.675, 103.53, 116.28) and config.std == (1.0,) * 5
    with pytest.raises(ValueError, match="image_channels"):
        zoo.preset_config(COCO, image_channels=0)


def test_wrong_weights_are_told_before_anything_is_built(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kmrcnn.models.build", None)
    with pytest.raises(ValueError, match="'coco'.*'cocoo'"):
        zoo.load_model("mask_rcnn_R_50_FPN_3x", weights="cocoo")
    with pytest.raises(ValueError, match="mask_rcnn_R_50_FPN_3x"):
        zoo.load_model("mask_rcnn_R50_FPN_3x")


@pytest.mark.parametrize("arguments", [{"weights": "coco"}, {"image_channels": 1}])
def test_a_keras_file_takes_no_further_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        zoo.load_model("mine.keras", **arguments)


def test_checkpoint_is_fetched_with_what_its_publisher_states(monkeypatch):
    asked = []
    monkeypatch.setattr(zoo, "fetch", lambda *a, **k: asked.append((a, k)))
    zoo.checkpoint_path(COCO.checkpoints["coco"])
    zoo.checkpoint_path(load_preset("maskrcnn_resnet50_fpn").checkpoints["coco"])
    assert asked[0][0][1] is None and asked[0][1] == {"md5": "f10217"}
    assert asked[1][0][1] == "bf2d0c1e" and asked[1][1] == {"md5": None}
    with pytest.raises(ValueError, match="url"):
        zoo.checkpoint_path(Checkpoint())


@pytest.fixture
def farm(tmp_path, monkeypatch):
    """A small preset whose published file lies in the cache: (preset's path, its arrays)."""
    pytest.importorskip("kmrcnn.models.build")
    monkeypatch.setenv("KMRCNN_CACHE", str(tmp_path / "cache"))
    preset = tmp_path / "farm.yaml"
    preset.write_text(SMALL % "000000")
    config = load_preset(preset).model
    rng = np.random.default_rng(0)
    arrays, tensors = {}, {}
    for name, variable in canonical_weights(zoo.load_model(preset)).items():
        arrays[name] = rng.standard_normal(tuple(variable.shape)).astype(np.float32)
        key = find_keys(name, config, SOURCES["detectron2"])[1][0]
        if arrays[name].ndim == 4:
            tensors[key] = arrays[name].transpose(3, 2, 0, 1)
        elif name == "roi_heads/box/fc1/kernel":
            kernel = arrays[name].reshape(3, 3, 4, 5).transpose(3, 2, 0, 1)
            tensors[key] = kernel.reshape(5, 36)
        else:
            tensors[key] = arrays[name].T
    raw = pickle.dumps({"model": tensors}, protocol=2)
    preset.write_text(SMALL % hashlib.md5(raw).hexdigest()[:6])
    path = cached_path(load_preset(preset).checkpoints["farm"].url)
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    return preset, arrays


def _values(model):
    return {name: np.asarray(v) for name, v in canonical_weights(model).items()}


def test_load_model_with_a_checkpoint_with_a_path_and_from_its_own_file(farm, tmp_path):
    preset, arrays = farm
    model = zoo.load_model(preset, weights="farm")
    assert model.config == load_preset(preset).model
    np.savez(tmp_path / "own.npz", **arrays)
    model.save(tmp_path / "own.keras")
    again = (
        zoo.load_model(preset, weights=tmp_path / "own.npz"),
        zoo.load_model(tmp_path / "own.keras"),
    )
    for loaded in (model, *again):
        assert loaded.config == model.config
        for name, value in _values(loaded).items():
            np.testing.assert_array_equal(value, arrays[name], err_msg=name)


def test_load_model_for_other_classes_and_channels(farm):
    preset, arrays = farm
    model = zoo.load_model(preset, "farm", class_names=["hen", "dog"], image_channels=1)
    assert model.config.class_names == ("hen", "dog") and model.config.input.channels == 1
    values = _values(model)
    logits = arrays["roi_heads/box/class_logits/bias"]
    np.testing.assert_array_equal(values["roi_heads/box/class_logits/bias"][1:], logits[[1, 3]])
    np.testing.assert_allclose(
        values["backbone/stem/kernel"],
        arrays["backbone/stem/kernel"].sum(axis=2, keepdims=True),
        rtol=1e-5,
        atol=1e-6,
    )
