"""What is written for TensorRT, and the ways to an engine, on stand-ins for TensorRT."""

import filecmp
import shutil
import sys
import types

import numpy as np
import onnx
import pytest
from skimage.data import coins

import kmrcnn
from kmrcnn.export import ArtefactPredictor, export, metadata, run_engine, tensorrt
from kmrcnn.export.engine_builder import build_engine
from kmrcnn.export.onnx import open_file
from kmrcnn.export.parser_tables import find_problems
from tests.tiny import tiny_inputs, tiny_model

CANVAS = (256, 352)


@pytest.fixture
def no_tensorrt(monkeypatch):
    hide_tensorrt(monkeypatch)


def hide_tensorrt(monkeypatch):
    """Whatever the machine has."""
    monkeypatch.delenv("TRTEXEC", raising=False)
    monkeypatch.setattr(tensorrt, "JETPACK_TRTEXEC", "/nowhere/trtexec")
    monkeypatch.setattr(tensorrt.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("tensorrt") / "artefact"
    with pytest.MonkeyPatch.context() as patch:
        hide_tensorrt(patch)
        return export(
            tiny_model(),
            path,
            format="tensorrt",
            precision="float32",
            image_size=(96, 128),
            batch_size=2,
        )


@pytest.fixture
def folder(exported, tmp_path):
    """A copy to build engines in."""
    return shutil.copytree(exported, tmp_path / "artefact")


def test_without_tensorrt_the_folder_has_all_to_build_with(exported):
    written = {path.name for path in exported.iterdir()}
    assert written == {"model_float32.onnx", "build_engine.sh", "run_engine.py", "metadata.json"}
    facts = metadata.read(exported)
    assert facts["engine"] is None
    assert "tensorrt is not here" in facts["engine_missing"]
    assert "trtexec was not found" in facts["engine_missing"]
    assert filecmp.cmp(run_engine.__file__, exported / "run_engine.py", shallow=False)
    assert "int8]     without an argument: float32" in (exported / "build_engine.sh").read_text()


def test_opening_a_folder_without_engine_says_what_to_do(exported):
    with pytest.raises(RuntimeError, match="no engine: .*sh build_engine.sh"):
        ArtefactPredictor(exported)


def test_trtexec_builds_where_it_is(folder, tmp_path, no_tensorrt, monkeypatch):
    program = tmp_path / "trtexec"
    program.write_text(
        '#!/bin/sh\necho "[TensorRT v100300]"\n'
        'if [ "$1" != --help ]; then echo "$@" > model_float32.engine; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("TRTEXEC", str(program))
    facts = tensorrt._build(folder, "float32", "")
    assert facts == {
        "engine": "model_float32.engine",
        "engine_built_by": str(program),
        "engine_missing": None,
    }
    assert "--onnx=model_float32.onnx" in (folder / "model_float32.engine").read_text()


def test_failure_of_trtexec_is_told(folder, tmp_path, no_tensorrt, monkeypatch, caplog):
    program = tmp_path / "trtexec"
    program.write_text('#!/bin/sh\necho "[TensorRT v8502]"; [ "$1" = --help ] || echo no GPU\n')
    program.chmod(0o755)
    monkeypatch.setenv("TRTEXEC", str(program))
    facts = tensorrt._build(folder, "float32", "")
    assert facts["engine"] is None
    assert "no GPU" in facts["engine_missing"]
    assert "No engine was built" in caplog.text


class FakeTensorRT(types.ModuleType):
    """As much of the package as building needs; writes down what was asked for.

    Args:
        version: Of TensorRT.
        kinds: Names of `NetworkDefinitionCreationFlag`.
        flags: Names of `BuilderFlag`.
    """

    WARNING, float32, float16, int32 = 1, "float32", "float16", "int32"

    def __init__(self, version, kinds, flags, batch=2):
        super().__init__("tensorrt")
        self.__version__ = version
        self.NetworkDefinitionCreationFlag = types.SimpleNamespace(**kinds)
        self.BuilderFlag = types.SimpleNamespace(**{name: name for name in flags})
        self.layers = [
            self.layer("conv", "float32"),
            self.layer("decode", "float32"),
            self.layer("index", "int32"),
        ]
        self.num_layers, self.num_inputs, self.num_errors = 3, 1, 1
        self.batch = batch
        self.flags, self.cleared, self.profiles = set(), set(), []
        self.readable, self.engine = True, b"engine"

    @staticmethod
    def layer(name, dtype):
        output = types.SimpleNamespace(dtype=dtype)
        return types.SimpleNamespace(
            name=name, num_outputs=1, get_output=lambda index: output, precision=None
        )

    class Logger:
        WARNING = 1

        def __init__(self, level):
            self.level = level

    def init_libnvinfer_plugins(self, logger, namespace):
        self.plugins = True

    def Builder(self, logger):
        return self

    def create_network(self, kinds):
        self.kinds = kinds
        return self

    def OnnxParser(self, network, logger):
        return self

    def parse_from_file(self, path):
        self.parsed = path
        return self.readable

    def get_error(self, index):
        return "unknown node"

    def create_builder_config(self):
        return self

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.cleared.add(flag)

    def get_layer(self, index):
        return self.layers[index]

    def get_input(self, index):
        return types.SimpleNamespace(name="images", shape=(self.batch, 96, 128, 3))

    def create_optimization_profile(self):
        return self

    def set_shape(self, *shapes):
        self.profiles.append(shapes)

    def add_optimization_profile(self, profile):
        self.profiles.append("added")

    def build_serialized_network(self, network, config):
        return self.engine


def version_8(**settings):
    flags = ("FP16", "INT8", "TF32", "OBEY_PRECISION_CONSTRAINTS")
    return FakeTensorRT("8.6.1", {"EXPLICIT_BATCH": 0}, flags, **settings)


def version_10(**settings):
    kinds = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    return FakeTensorRT("10.3.0", kinds, ("FP16", "INT8", "TF32"), **settings)


def version_11(**settings):
    return FakeTensorRT("11.4.0", {"STRONGLY_TYPED": 1}, ("TF32",), **settings)


def build(fake, tmp_path, monkeypatch, precision="float32", layers=""):
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    engine = tmp_path / "a.engine"
    version = build_engine(tmp_path / "a.onnx", engine, precision, layers, max_batch=4)
    assert engine.read_bytes() == b"engine" and fake.plugins
    return version


def test_version_8_gets_explicit_precisions(tmp_path, monkeypatch):
    fake = version_8()
    layers = "*:fp32,conv:fp16\n"
    assert build(fake, tmp_path, monkeypatch, "float16", layers) == "8.6.1"
    assert fake.kinds == 1
    assert fake.flags == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    assert [layer.precision for layer in fake.layers] == ["float16", "float32", None]
    assert fake.profiles == [] and fake.cleared == set()


def test_version_8_takes_int8_from_the_file(tmp_path, monkeypatch):
    fake = version_8()
    build(fake, tmp_path, monkeypatch, "int8")
    assert fake.flags == {"INT8"} and fake.cleared == {"TF32"}


@pytest.mark.parametrize(("make", "kinds"), [(version_10, 3), (version_11, 2)])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_later_versions_take_the_types_of_the_file(make, kinds, precision, tmp_path, monkeypatch):
    fake = make()
    build(fake, tmp_path, monkeypatch, precision)
    assert fake.kinds == kinds and fake.flags == set()
    assert fake.cleared == (set() if precision == "float16" else {"TF32"})
    assert {layer.precision for layer in fake.layers} == {None}


def test_open_batch_size_gets_a_profile(tmp_path, monkeypatch):
    fake = version_10(batch=-1)
    build(fake, tmp_path, monkeypatch)
    one, four = (1, 96, 128, 3), (4, 96, 128, 3)
    assert fake.profiles == [("images", one, one, four), "added"]


def test_refused_models_are_told(tmp_path, monkeypatch):
    fake = version_10()
    fake.readable = False
    with pytest.raises(RuntimeError, match="TensorRT 10.3.0 cannot read a.onnx: unknown node"):
        build(fake, tmp_path, monkeypatch)
    fake = version_10()
    fake.engine = None
    with pytest.raises(RuntimeError, match="could not build a.onnx"):
        build(fake, tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_missing_gpu_is_told(tmp_path, monkeypatch):
    fake = version_10()

    def refuse(logger):
        raise TypeError("factory function returned nullptr")

    fake.Builder = refuse
    with pytest.raises(RuntimeError, match="is there a GPU"):
        build(fake, tmp_path, monkeypatch)


def test_package_is_preferred(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", version_11())
    facts = tensorrt._build(folder, "float32", "")
    assert facts["engine_built_by"] == "tensorrt 11.4.0"
    assert (folder / "model_float32.engine").read_bytes() == b"engine"


class OnnxAsEngine:
    """`run_engine.Engine` with ONNX Runtime behind it."""

    def __init__(self, path):
        self._run = open_file(tensorrt.Path(path).with_suffix(".onnx"))

    def run(self, feeds):
        return self._run(feeds["images"], feeds["image_sizes"])


def test_artefact_runs_its_engine_in_batches_of_its_size(folder, monkeypatch):
    (folder / "model_float32.engine").touch()
    monkeypatch.setattr(run_engine, "Engine", OnnxAsEngine)
    inputs = tiny_inputs(sizes=((96, 128), (90, 100), (64, 120)))
    found = ArtefactPredictor(folder).run(inputs["images"], inputs["image_sizes"])
    expected = tiny_model()(inputs)
    np.testing.assert_array_equal(found["num_detections"], np.sum(expected["valid"], axis=1))
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)


@pytest.fixture(scope="module")
def bundled():
    return kmrcnn.load_model("mask_rcnn_r18_coins", "bundled")


@pytest.fixture(scope="module")
def picture():
    return np.repeat(coins()[..., None], 3, axis=-1)


@pytest.mark.slow
def test_float16_names_its_layers(bundled, tmp_path, no_tensorrt):
    path = export(
        bundled, tmp_path / "a", format="tensorrt", precision="float16", image_size=CANVAS
    )
    entries = (path / "float16_layers.txt").read_text().strip().split(",")
    names = [entry.rsplit(":", 1)[0] for entry in entries]
    nodes = {node.name: node.op_type for node in onnx.load(path / "model_float16.onnx").graph.node}
    assert names[0] == "*" and set(names[1:]) <= set(nodes)
    assert not any(":" in name or "," in name or " " in name for name in nodes)
    convolutions = [name for name, operator in nodes.items() if operator == "Conv"]
    assert set(convolutions) <= set(names)
    assert not {"TopK", "RoiAlign", "Sigmoid"} & {nodes[name] for name in names[1:]}
    assert find_problems(onnx.load(path / "model_float32.onnx")) == []
    assert "--maxShapes" in (path / "build_engine.sh").read_text()


@pytest.mark.slow
def test_int8_finds_the_same_coins(bundled, picture, tmp_path, no_tensorrt):
    calibration = [picture, picture[:, ::-1], picture[::-1]]
    path = export(
        bundled,
        tmp_path / "a",
        format="tensorrt",
        precision="int8",
        image_size=CANVAS,
        batch_size=1,
        calibration_images=calibration,
    )
    quantized = onnx.load(path / "model_int8.onnx")
    onnx.checker.check_model(quantized, full_check=True)
    assert find_problems(quantized) == []
    inputs = _inputs_of(quantized)
    assert inputs["Conv"] == {("DequantizeLinear", "DequantizeLinear")}
    for operator in ("Exp", "Softmax", "Sigmoid", "TopK"):
        assert "DequantizeLinear" not in {name for pair in inputs[operator] for name in pair}
    images, sizes = run_engine.to_canvas(picture, metadata.read(path))
    feeds = images[None], np.array([sizes], np.int32)
    exact, found = (open_file(path / f"model_{p}.onnx")(*feeds) for p in ("float32", "int8"))
    number = exact["num_detections"][0]
    assert number > 15 and abs(int(found["num_detections"][0]) - int(number)) <= 1
    distances = np.abs(exact["boxes"][0, :number, None] - found["boxes"][0][None]).max(-1)
    assert (distances.min(axis=1) < 2).mean() > 0.9


def _inputs_of(proto):
    """{operator: the operators that make its first two inputs}."""
    makers = {name: node.op_type for node in proto.graph.node for name in node.output}
    pairs = {}
    for node in proto.graph.node:
        pair = tuple(makers.get(name) for name in node.input[:2])
        pairs.setdefault(node.op_type, set()).add(pair)
    return pairs
