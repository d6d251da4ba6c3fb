import json

import keras
import pytest

import kmrcnn
from kmrcnn.config.loader import from_dict
from kmrcnn.config.schema import ModelConfig
from kmrcnn.export import metadata
from kmrcnn.export.lowered_model import changed_config, lowered_model
from kmrcnn.structures.lowering import Lowering
from tests.tiny import CLASS_NAMES, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_what_a_client_needs_is_there(model):
    config = changed_config(model.config, score_threshold=0.3, max_detections=7)
    described = json.loads(json.dumps(metadata.describe(model, config, "onnx", "float16")))
    assert described["classes"] == list(CLASS_NAMES)
    assert (described["format"], described["precision"]) == ("onnx", "float16")
    assert described["kmrcnn_version"] == kmrcnn.__version__
    assert (described["score_threshold"], described["max_detections"]) == (0.3, 7)
    assert described["nms_threshold"] == model.config.box.nms_threshold
    assert described["preprocessing"]["short_side"] == 96
    assert described["preprocessing"]["channel_order"] == "rgb"
    assert described["mask"] == {"threshold": 0.5, "paste": "grid_sample"}
    assert from_dict(ModelConfig, described["config"]) == config


def test_models_without_masks_and_without_names():
    model = tiny_model(mask=None, class_names=None)
    described = metadata.describe(model, model.config, "onnx", "float32")
    assert described["mask"] is None
    assert described["classes"] == ["0", "1", "2", "3", "4"]


def test_digest_tells_weights_apart_and_nothing_else(model, tmp_path):
    digest = metadata.weights_sha256(model)
    assert len(digest) == 64
    assert metadata.weights_sha256(tiny_model()) == digest  # built again, other automatic names
    lowering = Lowering("reference", "unrolled", static=True)
    assert metadata.weights_sha256(lowered_model(model, lowering, score_threshold=0.4)) == digest
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert metadata.weights_sha256(loaded) == digest

    other = tiny_model()
    weight = other.weights[-1]
    weight.assign(weight + 1e-6)
    assert metadata.weights_sha256(other) != digest


def test_written_file_lists_the_others(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.bin").write_bytes(b"abc")
    metadata.write(tmp_path, {"format": "onnx"})
    files = {"1/model.bin": 3}
    assert metadata.read(tmp_path) == {"format": "onnx", "files": files}
    metadata.write(tmp_path, {"format": "tflite"})
    assert metadata.read(tmp_path)["format"] == "tflite"
    assert metadata.read(tmp_path)["files"] == files  # not itself


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no exported model: it has no metadata.json"):
        metadata.read(tmp_path)
    (tmp_path / "metadata.json").write_text('{"format": ')
    with pytest.raises(ValueError, match="metadata.json' is damaged"):
        metadata.read(tmp_path)
    (tmp_path / "metadata.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="metadata.json' is damaged"):
        metadata.read(tmp_path)
