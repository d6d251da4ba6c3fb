"""What happens when there is a compiled library, and when there is none."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from kmrcnn.custom_ops import build, is_compiled, library

PATH = Path("kmrcnn_tensorflow.so")
OPS = SimpleNamespace(kmrcnn_roi_align=None)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing loaded yet, mode "auto"; what was loaded comes back afterwards."""
    loaders = library.tensorflow_ops, library.jax_library
    for loader in loaders:
        loader.cache_clear()
    monkeypatch.delenv("KMRCNN_OPS", raising=False)
    yield
    for loader in loaders:
        loader.cache_clear()


@pytest.fixture
def no_compiler(monkeypatch):
    def fail(target):
        raise build.BuildError("There is no C++ compiler.\nInstall one.")

    monkeypatch.setattr(build, "find_or_build", fail)


def test_missing_library_warns_once(no_compiler):
    with pytest.warns(RuntimeWarning, match="There is no C\\+\\+ compiler.. A slower form") as log:
        assert not is_compiled()
        assert not is_compiled()
    assert len(log) == 1
    assert "KMRCNN_OPS=off" in str(log[0].message)


def test_required_library_must_be_there(no_compiler, monkeypatch):
    monkeypatch.setenv("KMRCNN_OPS", "require")
    with pytest.raises(OSError, match="KMRCNN_OPS=require.*no C\\+\\+ compiler"):
        is_compiled()


def test_off_never_looks(monkeypatch):
    monkeypatch.setenv("KMRCNN_OPS", "off")
    monkeypatch.setattr(build, "find_or_build", lambda target: pytest.fail("it looked"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not is_compiled()


def test_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("KMRCNN_OPS", "never")
    with pytest.raises(ValueError, match="`KMRCNN_OPS` must be one of auto, require, off.*'never'"):
        is_compiled()


class Loads:
    """Stands for `tf.load_op_library`: fails as often as it is told, and counts."""

    def __init__(self, failures):
        self.failures, self.calls, self.discarded = failures, 0, []

    def __call__(self, path):
        self.calls += 1
        if self.calls <= self.failures:
            raise tf.errors.NotFoundError(None, None, f"{path}: undefined symbol: _ZN4absl")
        return OPS


@pytest.fixture
def loads(monkeypatch, request):
    loads = Loads(request.param)
    monkeypatch.setattr(build, "find_or_build", lambda target: PATH)
    monkeypatch.setattr(build, "discard", loads.discarded.append)
    monkeypatch.setattr(tf, "load_op_library", loads)
    return loads


@pytest.mark.parametrize("loads", [0], indirect=True)
def test_library_is_loaded_once(loads):
    assert library.tensorflow_ops() is library.tensorflow_ops() is OPS
    assert loads.calls == 1 and loads.discarded == []


@pytest.mark.parametrize("loads", [1], indirect=True)
def test_library_of_another_tensorflow_is_made_anew(loads):
    assert library.tensorflow_ops() is OPS
    assert loads.calls == 2 and loads.discarded == [PATH]


@pytest.mark.parametrize("loads", [9], indirect=True)
def test_library_that_never_loads_is_given_up(loads):
    with pytest.warns(RuntimeWarning, match="just built does not load.*undefined symbol"):
        assert library.tensorflow_ops() is None
    assert loads.calls == 2


@pytest.mark.parametrize("loads", [0], indirect=True)
def test_library_without_gpu_kernels_is_not_used_beside_a_gpu(loads, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(library, "has_gpu_kernels", lambda path: False)
    with pytest.warns(RuntimeWarning, match="compiled without nvcc and has no GPU kernels"):
        assert library.tensorflow_ops() is None
    assert loads.discarded == []


@pytest.mark.skipif(build.plan("tensorflow").problem != "", reason="needs a compiler")
def test_library_that_was_opened_before_pools_all_the_same():
    """By ctypes, as whoever looks for a symbol does; TensorFlow then sees no new ops in it."""
    script = (
        "import ctypes, numpy as np, tensorflow as tf\n"
        "from kmrcnn.custom_ops import build, is_compiled, roi_align\n"
        "ctypes.CDLL(str(build.find_or_build('tensorflow')))\n"
        "ramp = tf.constant(np.arange(25, dtype='float32').reshape(1, 5, 5, 1))\n"
        "with tf.GradientTape() as tape:\n"
        "    tape.watch(ramp)\n"
        "    pooled = roi_align(ramp, [[1., 1, 3, 3]], [0], 1, 4, 2, False)\n"
        "print(is_compiled(), pooled[0, :, 0, 0].numpy().tolist())\n"
        "print(round(float(tf.reduce_sum(tape.gradient(pooled, ramp))), 4))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["True [7.5, 10.0, 12.5, 15.0]", "16.0"], (
        done.stderr
    )  # a weight of 1 per cell


def test_new_process_without_a_compiler_pools_all_the_same(tmp_path):
    """The whole way: an empty cache, a CXX that is not there, one warning, right values."""
    script = (
        "import numpy as np\n"
        "from kmrcnn.custom_ops import roi_align\n"
        "ramp = np.arange(25, dtype='float32').reshape(1, 5, 5, 1)\n"
        "for ratio in (2, 0):\n"
        "    pooled = roi_align(ramp, [[1., 1, 3, 3]], [0], 1, 4, ratio, False)\n"
        "    print(np.asarray(pooled)[0, :, 0, 0].tolist())\n"
    )
    environment = os.environ | {
        "KMRCNN_CACHE": str(tmp_path),
        "CXX": str(tmp_path / "missing"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    environment.pop("KMRCNN_OPS", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[7.5, 10.0, 12.5, 15.0]"] * 2
    assert done.stderr.count("The compiled RoIAlign cannot be had") == 1
    assert "missing cannot be run" in done.stderr
