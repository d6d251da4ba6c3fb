"""Warm-up requests for TensorFlow Serving; that they can be played is tested in test_serving.py."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kmrcnn.export import requirements, serving_warmup


def read(folder) -> dict:
    records = tf.data.TFRecordDataset(str(folder / serving_warmup.FILE_NAME))
    logs = [prediction_log_pb2.PredictionLog.FromString(r) for r in records.as_numpy_iterator()]
    requests = [log.predict_log.request for log in logs]
    assert all(request.model_spec.name == "coins" for request in requests)
    return {
        request.model_spec.signature_name: {
            name: tf.make_ndarray(value) for name, value in request.inputs.items()
        }
        for request in requests
    }


def test_one_request_for_each_signature_of_pictures(tmp_path):
    signatures = ("serving_default", "serve_bytes", "serve_float")
    assert serving_warmup.write(tmp_path / "extra", "coins", 3, signatures) is True
    requests = read(tmp_path / "extra")
    assert set(requests) == {"serving_default", "serve_bytes"}
    picture = requests["serving_default"]["images"]
    assert picture.shape == (1, 240, 320, 3) and picture.dtype == np.uint8 and picture.std() > 50
    decoded = tf.io.decode_jpeg(requests["serve_bytes"]["image_bytes"][0])
    assert decoded.shape == (240, 320, 3)


def test_other_channels_have_no_file(tmp_path):
    assert serving_warmup.write(tmp_path, "coins", 4, ("serving_default", "serve_float"))
    requests = read(tmp_path)
    assert list(requests) == ["serving_default"]
    assert requests["serving_default"]["images"].shape == (1, 240, 320, 4)


def test_without_the_package_a_warning_has_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install .kmrcnn\[export\]"):
        assert serving_warmup.write(tmp_path / "extra", "coins", 3, ("serving_default",)) is False
    assert not (tmp_path / "extra").exists()
