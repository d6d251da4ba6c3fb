"""build_engine.sh with a trtexec that writes down how it was called."""

import os
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kmrcnn.export.engine_script import LAYERS_NAME, NAME, build_script, float16_layers

TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v$FAKE_VERSION] # trtexec"
if [ "$1" = --help ]; then exit 0; fi
for argument in "$@"; do echo "$argument" >> "$(dirname "$0")/arguments"; done
"""
LAYERS = "*:fp32,conv/a:fp16\n"
VERSIONS = {"8.5": "8502", "8.6": "8601", "10.3": "100300", "11.4": "110400"}

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")


@pytest.fixture
def folder(tmp_path):
    """A space in the name, as folders have."""
    path = tmp_path / "my model"
    path.mkdir()
    for precision in ("float32", "float16", "int8"):
        (path / f"model_{precision}.onnx").touch()
    (path / LAYERS_NAME).write_text(LAYERS)
    (path / "trtexec").write_text(TRTEXEC)
    (path / "trtexec").chmod(0o755)
    write_script(path, dynamic=False)
    return path


def write_script(folder, dynamic):
    (folder / NAME).write_text(build_script("float16", (64, 96), 3, dynamic))


def run(folder, *arguments, version="8502", **environment):
    environment = {"FAKE_VERSION": version, "TRTEXEC": str(folder / "trtexec")} | environment
    return subprocess.run(
        ["sh", str(folder / NAME), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        cwd="/",
        capture_output=True,
        text=True,
    )


def arguments_of(folder, *arguments, **settings):
    done = run(folder, *arguments, **settings)
    assert done.returncode == 0, done.stderr
    return (folder / "arguments").read_text().splitlines()


@pytest.mark.parametrize(
    ("version", "precision", "types"),
    [
        ("8.5", "float32", ["--noTF32"]),
        (
            "8.6",
            "float16",
            ["--fp16", "--precisionConstraints=obey", f"--layerPrecisions={LAYERS.strip()}"],
        ),
        ("8.6", "int8", ["--int8", "--noTF32"]),
        ("10.3", "float32", ["--stronglyTyped", "--noTF32"]),
        ("10.3", "float16", ["--stronglyTyped"]),
        ("10.3", "int8", ["--stronglyTyped"]),
        ("11.4", "float32", []),
        ("11.4", "float16", []),
    ],
)
def test_flags_of_each_version(folder, version, precision, types):
    assert arguments_of(folder, precision, version=VERSIONS[version]) == [
        f"--onnx=model_{precision}.onnx",
        f"--saveEngine=model_{precision}.engine",
        *types,
    ]


def test_precision_of_the_export_is_the_default(folder):
    assert arguments_of(folder)[0] == "--onnx=model_float16.onnx"


def test_version_can_be_given(folder):
    assert "--stronglyTyped" in arguments_of(folder, version="", TENSORRT_MAJOR="10")


def test_open_batch_size_gets_shapes(folder):
    write_script(folder, dynamic=True)
    assert arguments_of(folder, "float16", version="110400", MAX_BATCH="8")[2:] == [
        "--minShapes=images:1x64x96x3,image_sizes:1x2",
        "--optShapes=images:1x64x96x3,image_sizes:1x2",
        "--maxShapes=images:8x64x96x3,image_sizes:8x2",
    ]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["bfloat16"], {}, "no model_bfloat16.onnx"),
        ([], {"TRTEXEC": "/nowhere/trtexec"}, "trtexec was not found"),
        ([], {"version": "7"}, "set TENSORRT_MAJOR"),
    ],
)
def test_mistakes_are_named(folder, arguments, settings, message):
    done = run(folder, *arguments, **settings)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "arguments").exists()


def test_float16_layers_are_those_with_float16_results():
    half = numpy_helper.from_array(np.ones((2, 2), np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], "down", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["a", "w"], ["b"], "product"),
        helper.make_node("Cast", ["b"], ["c"], "up", to=TensorProto.FLOAT),
        helper.make_node("Exp", ["c"], ["y"], "exp"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [2, 2])], [value("y", 1, [2, 2])], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    assert float16_layers(model) == "*:fp32,down:fp16,product:fp16\n"
