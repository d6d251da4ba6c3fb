"""The runner that travels beside the engine: preparation of pictures, and the engine on stubs."""

import ast
import dataclasses
import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmrcnn.export import metadata, run_engine
from kmrcnn.export.canvas import to_canvas
from tests.tiny import tiny_config, tiny_model


@pytest.mark.parametrize("resize", ["bilinear", "antialiased_uint8"])
@pytest.mark.parametrize("rounding", ["floor", "half_up"])
@pytest.mark.parametrize("size", [(60, 90), (200, 50), (401, 700)])
def test_pictures_are_prepared_as_the_library_does(resize, rounding, size):
    config = tiny_config()
    config = dataclasses.replace(
        config, input=dataclasses.replace(config.input, resize=resize, size_rounding=rounding)
    )
    settings = {
        "preprocessing": {
            name: getattr(config.input, name)
            for name in ("resize", "size_rounding", "short_side", "long_side")
        },
        "image_size": [96, 128],
    }
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    canvas, content = run_engine.to_canvas(picture, settings)
    expected, expected_content = to_canvas(picture, config.input, (96, 128))
    assert tuple(content) == tuple(expected_content)
    np.testing.assert_array_equal(canvas, expected)


def test_pictures_are_read_without_pillow(tmp_path, monkeypatch):
    picture = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    np.save(tmp_path / "a.npy", picture)
    Image.fromarray(picture).save(tmp_path / "b.ppm")
    commented = b"P6\n# by a camera\n4 5\n255\n" + picture.tobytes()
    (tmp_path / "c.ppm").write_bytes(commented)
    Image.fromarray(picture).save(tmp_path / "d.png")
    np.testing.assert_array_equal(run_engine.read_picture(str(tmp_path / "d.png"), 3), picture)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for name in ("a.npy", "b.ppm", "c.ppm"):
        np.testing.assert_array_equal(run_engine.read_picture(str(tmp_path / name), 3), picture)
    with pytest.raises(SystemExit, match="not \\(H, W, 1\\)"):
        run_engine.read_picture(str(tmp_path / "a.npy"), 1)


def test_runner_is_python_3_8_and_imports_nothing_else():
    source = Path(run_engine.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.Import)
            else []
        )
    }
    standard = {"__future__", "argparse", "json", "math", "os", "time"}
    assert imported == standard | {"numpy", "tensorrt", "cuda", "PIL"}


class FakeGpu:
    """Memory of a GPU and an engine that answers with constants; addresses are whole numbers."""

    def __init__(self, outputs):
        self.memory = {}
        self.given = outputs
        self.bound = {}
        self.freed = []

    def install(self, monkeypatch, module_name):
        """As cuda-python and tensorrt."""
        cuda = types.SimpleNamespace(
            cudaMemcpyKind=types.SimpleNamespace(
                cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out"
            ),
            cudaStreamCreate=lambda: (0, "stream"),
            cudaStreamSynchronize=lambda stream: (0,),
            cudaMalloc=self.allocate,
            cudaFree=lambda address: (self.freed.append(address) or 0,),
            cudaMemcpy=self.copy,
        )
        package = types.ModuleType("cuda")
        if module_name == "runtime":
            bindings = types.ModuleType("cuda.bindings")
            bindings.runtime = cuda
            monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
        else:
            package.cudart = cuda
        monkeypatch.setitem(sys.modules, "cuda", package)
        monkeypatch.setitem(sys.modules, "tensorrt", self.tensorrt())

    def allocate(self, size):
        address = 1000 + len(self.memory)
        self.memory[address] = bytes(size)
        return 0, address

    def copy(self, target, source, size, kind):
        import ctypes

        if kind == "in":
            self.memory[target] = ctypes.string_at(source, size)
        else:
            ctypes.memmove(target, self.memory[source], size)
        return (0,)

    def tensorrt(self):
        names = ["images", "image_sizes", *self.given]
        inputs = ("images", "image_sizes")
        engine = types.SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=lambda index: names[index],
            get_tensor_mode=lambda name: "in" if name in inputs else "out",
            get_tensor_dtype=lambda name: (
                np.int32 if name == "image_sizes" else self.given.get(name, np.float32(0)).dtype
            ),
            create_execution_context=lambda: self,
        )
        logger = types.SimpleNamespace(WARNING=1)
        return types.SimpleNamespace(
            __version__="10.3.0",
            Logger=type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None}),
            init_libnvinfer_plugins=lambda *arguments: True,
            Runtime=lambda _: types.SimpleNamespace(
                deserialize_cuda_engine=lambda data: engine if data == b"engine" else None
            ),
            TensorIOMode=types.SimpleNamespace(INPUT="in"),
            nptype=lambda dtype: dtype,
            logger=logger,
        )

    # The execution context.
    def set_input_shape(self, name, shape):
        self.shape = shape

    def set_tensor_address(self, name, address):
        self.bound[name] = address

    def get_tensor_shape(self, name):
        return self.given[name].shape

    def execute_async_v3(self, stream):
        for name, values in self.given.items():
            self.memory[self.bound[name]] = values.tobytes()
        return True


OUTPUTS = {
    "boxes": np.array([[[10, 20, 30, 40], [0, 0, 0, 0]]], np.float32),
    "scores": np.array([[0.75, 0]], np.float32),
    "classes": np.array([[2, 0]], np.int32),
    "num_detections": np.array([1], np.int32),
}


@pytest.mark.parametrize("module_name", ["runtime", "cudart"])
def test_engine_copies_in_and_out(module_name, tmp_path, monkeypatch):
    gpu = FakeGpu(OUTPUTS)
    gpu.install(monkeypatch, module_name)
    (tmp_path / "a.engine").write_bytes(b"engine")
    engine = run_engine.Engine(str(tmp_path / "a.engine"))
    images = np.random.default_rng(0).uniform(size=(1, 4, 6, 3)).astype(np.float32)
    for _ in range(2):
        found = engine.run({"images": images, "image_sizes": np.array([[4, 6]])})
    assert len(gpu.memory) == 6 and not gpu.freed  # buffers are used again
    np.testing.assert_array_equal(
        np.frombuffer(gpu.memory[gpu.bound["images"]], np.float32), images.ravel()
    )
    assert gpu.memory[gpu.bound["image_sizes"]] == np.array([4, 6], np.int32).tobytes()
    for name, values in OUTPUTS.items():
        np.testing.assert_array_equal(found[name], values)
    engine.run({"images": np.repeat(images, 2, 0), "image_sizes": np.array([[4, 6]] * 2)})
    assert len(gpu.freed) == 2  # larger inputs need larger buffers


def test_engine_of_another_machine_is_named(tmp_path, monkeypatch):
    FakeGpu(OUTPUTS).install(monkeypatch, "runtime")
    (tmp_path / "a.engine").write_bytes(b"other")
    with pytest.raises(RuntimeError, match="an engine fits the GPU"):
        run_engine.Engine(str(tmp_path / "a.engine"))


def test_failed_call_is_named(tmp_path, monkeypatch):
    gpu = FakeGpu(OUTPUTS)
    gpu.install(monkeypatch, "cudart")
    sys.modules["cuda"].cudart.cudaStreamCreate = lambda: (2, None)
    (tmp_path / "a.engine").write_bytes(b"engine")
    with pytest.raises(RuntimeError, match="cudaStreamCreate failed: 2"):
        run_engine.Engine(str(tmp_path / "a.engine"))


def test_command_prints_detections_in_pixels_of_the_picture(tmp_path, monkeypatch, capsys):
    model = tiny_model()
    facts = metadata.describe(model, model.config, "tensorrt", "float32") | {
        "image_size": [96, 128],
        "batch_size": 1,
        "inputs": {"images": {"shape": [1, 96, 128, 3]}},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(facts))
    (tmp_path / "model_float32.engine").write_bytes(b"engine")
    np.save(tmp_path / "picture.npy", np.zeros((192, 256, 3), np.uint8))  # twice the canvas
    FakeGpu(OUTPUTS).install(monkeypatch, "runtime")
    monkeypatch.setattr(run_engine, "__file__", str(tmp_path / "run_engine.py"))
    output = str(tmp_path / "found.npz")
    arguments = ["run_engine.py", str(tmp_path / "picture.npy"), "--output", output]
    monkeypatch.setattr(sys, "argv", arguments)
    run_engine.main()
    printed = io.StringIO(capsys.readouterr().out).readlines()
    assert printed[0].endswith("ms for a batch of 1\n")
    assert printed[1] == "triangle 0.750  20.0 40.0 60.0 80.0\n"
    assert np.load(output)["boxes"].tolist() == [[20, 40, 60, 80]]
