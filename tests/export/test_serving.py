"""The SavedModel outside Python and Keras: every host but ours."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

import kmrcnn
from kmrcnn.data.preprocess import pad_to_canvas, to_network
from kmrcnn.postprocess.to_original import frame_scale
from tests.conftest import ROOT
from tests.export.pictures import BAD_FILES, COINS, encoded
from tests.export.prediction_service import serving

HOST = Path(__file__).with_name("serving_host.cc")
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@pytest.fixture(scope="module")
def folder(coins_saved_model):
    """Of the version."""
    return coins_saved_model / "3"


@pytest.fixture(scope="module")
def want(coins_model):
    return kmrcnn.Predictor(coins_model, 0.0).predict(COINS)


@pytest.fixture(scope="module")
def address(folder):
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def channel(address):
    with grpc.insecure_channel(address, options=UNLIMITED) as channel:
        yield channel


def ask(channel, signature: str, **inputs) -> dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "coins"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 120)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def assert_row_equals(outputs, want, row=0):
    number = int(outputs["num_detections"][row])
    assert number == len(want) > 20
    np.testing.assert_allclose(outputs["boxes"][row][:number], want.boxes, atol=1e-3)
    np.testing.assert_allclose(outputs["scores"][row][:number], want.scores, atol=1e-4)
    np.testing.assert_array_equal(outputs["classes"][row][:number], want.classes)


def inputs_of_each_signature(config) -> dict[str, dict[str, np.ndarray]]:
    canvas, sizes = pad_to_canvas([to_network(COINS, config)], config.pad_multiple)
    return {
        "serving_default": {"images": COINS[None]},
        "serve_bytes": {"image_bytes": np.array([encoded(COINS)])},
        "serve_float": {"images": canvas, "image_sizes": sizes},
    }


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["serving_default", "serve_bytes", "serve_float"])
def test_saved_model_cli_runs_it(folder, coins_model, want, tmp_path, signature):
    inputs = inputs_of_each_signature(coins_model.config.input)[signature]
    for name, value in inputs.items():
        np.save(tmp_path / f"{name}.npy", value)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("saved_model_cli"),
            "run",
            *("--dir", folder, "--tag_set", "serve", "--signature_def", signature),
            *("--inputs", ";".join(f"{name}={tmp_path / name}.npy" for name in inputs)),
            *("--outdir", tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names = ("num_detections", "boxes", "scores", "classes")
    outputs = {name: np.load(tmp_path / f"{name}.npy") for name in names}
    if signature == "serve_float":  # of the network frame
        outputs["boxes"] *= frame_scale(inputs["image_sizes"][0], COINS.shape[:2])
    assert_row_equals(outputs, want)


WITHOUT_KERAS = """
import json, sys

for name in ("keras", "tf_keras", "kmrcnn"):
    sys.modules[name] = None  # not to be found
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

file = tf.io.gfile.GFile(sys.argv[1] + "/saved_model.pb", "rb").read()
graph = saved_model_pb2.SavedModel.FromString(file).meta_graphs[0].graph_def
nodes = list(graph.node) + [node for f in graph.library.function for node in f.node_def]
kinds = {node.op for node in nodes} - {f.signature.name for f in graph.library.function}
unknown = sorted(kind for kind in kinds if op_def_registry.get(kind) is None)
loaded = tf.saved_model.load(sys.argv[1])
data = tf.io.read_file(sys.argv[2])
found = loaded.signatures["serve_bytes"](image_bytes=data[None])
answer = {name: value.numpy().tolist() for name, value in found.items() if name != "masks"}
print(json.dumps({"answer": answer, "unknown": unknown, "kinds": len(kinds)}))
"""


def test_it_loads_without_keras_and_knows_every_op(folder, want, tmp_path):
    (tmp_path / "coins.png").write_bytes(encoded(COINS))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(folder), str(tmp_path / "coins.png")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["unknown"] == [] and result["kinds"] > 50
    assert_row_equals({name: np.array(v) for name, v in result["answer"].items()}, want)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
def test_cpp_host_answers(folder, want, tmp_path):
    program = tmp_path / "serving_host"
    library = Path(tf.sysconfig.get_lib())
    built = subprocess.run(
        ["g++", "-std=c++17", "-O0", "-w", HOST, "-o", program]
        + [flag for flag in tf.sysconfig.get_compile_flags() if not flag.startswith("--std")]
        # nothing names a symbol of the library in which sessions register themselves
        + ["-Wl,--no-as-needed", f"-L{library}", f"-Wl,-rpath,{library}"]
        + ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    files = [tmp_path / "coins.png", tmp_path / "again.png"]
    for file in files:
        file.write_bytes(encoded(COINS))
    done = subprocess.run([program, folder, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = np.array([line.split() for line in done.stdout.splitlines()], float)
    for index in range(2):
        found = rows[rows[:, 0] == index]
        np.testing.assert_allclose(found[:, 3:], want.boxes, atol=1e-3)
        np.testing.assert_allclose(found[:, 2], want.scores, atol=1e-4)
        np.testing.assert_array_equal(found[:, 1], want.classes)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = subprocess.run([program, folder, tmp_path / "bad.png"], capture_output=True, text=True)
    assert done.returncode == 2 and "INVALID_ARGUMENT" in done.stderr


def test_grpc_round_trip(channel, want):
    assert_row_equals(ask(channel, "serving_default", images=COINS[None]), want)
    found = ask(channel, "serve_bytes", image_bytes=[encoded(COINS), encoded(COINS[::-1])])
    assert_row_equals(found, want)
    assert found["masks"].shape == (2, 100, 28, 28)


def test_documented_client(address, want, tmp_path, monkeypatch):
    (tmp_path / "coins.jpg").write_bytes(encoded(COINS))
    monkeypatch.chdir(tmp_path)
    blocks = (ROOT / "docs" / "deploy.md").read_text().split("```python")[1:]
    client = next(block.split("```")[0] for block in blocks if "PredictionServiceStub" in block)
    names = {}
    exec(client.replace("localhost:8500", address), names)  # noqa: S102
    np.testing.assert_allclose(names["boxes"], want.boxes, atol=1e-3)
    np.testing.assert_allclose(names["scores"], want.scores, atol=1e-4)


def test_large_answers_need_a_larger_limit_in_the_client(address):
    """The documented trap: gRPC's own limit is 4 MB, for what a client receives."""
    with grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, "serving_default", images=np.zeros((14, 64, 64, 3), np.uint8))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_warm_up_requests_can_be_played(folder, channel):
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    signatures = []
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert stub.Predict(request, 120).outputs["boxes"].tensor_shape.dim[0].size == 1
        signatures.append(request.model_spec.signature_name)
    assert signatures == ["serving_default", "serve_bytes"]


@pytest.mark.parametrize("name", BAD_FILES)
def test_malformed_files_are_invalid_arguments(channel, name):
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, "serve_bytes", image_bytes=[BAD_FILES[name]])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) > 10
