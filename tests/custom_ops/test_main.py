"""The command that compiles ahead of time: what it prints, its self-test, exit codes."""

import dataclasses
import re
from pathlib import Path

import pytest
import tensorflow as tf

import kmrcnn.custom_ops as package
from kmrcnn.custom_ops import __main__ as command
from kmrcnn.custom_ops import build, library

RECIPE = build.Recipe("tensorflow", "2.21.0", (), (), ("/bin/g++",), None, "KMRCNN_CUDA=off", "")
CUDA = build.Cuda(Path("/cuda/bin/nvcc"), Path("/cuda/lib64"), ("80", "90"), "")


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A library that is made at once; what it was asked for is kept."""
    asked = []

    def find_or_build(target):
        asked.append(target)
        return tmp_path / f"kmrcnn_{target}_cpu.so"

    monkeypatch.setattr(build, "plan", lambda target: RECIPE)
    monkeypatch.setattr(build, "find", lambda recipe, folder: None)
    monkeypatch.setattr(build, "find_or_build", find_or_build)
    return asked


def _use(monkeypatch, **changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    monkeypatch.setattr(build, "plan", lambda target: recipe)


def test_help_has_examples_and_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "  python -m kmrcnn.custom_ops --check\n" in text.split("examples:")[1]
    assert "KMRCNN_CUDA_ARCHS" in text and ", ".join(build.TARGETS) in " ".join(text.split())


@pytest.mark.parametrize("argv", [["--target", "torch"], ["--check", "--target", "kernels"]])
def test_wrong_usage_exits_with_2(argv, made):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == 2 and made == []


def test_library_is_made_and_described(made, capsys):
    assert command.main([]) == 0
    assert made == ["tensorflow"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "target    tensorflow 2.21.0",
        "compiler  /bin/g++",
        "CUDA      none: KMRCNN_CUDA=off",
    ]
    assert lines[3].endswith("kmrcnn_tensorflow_cpu.so")
    assert re.fullmatch(r" +without CUDA kernels, made in \d+\.\d s", lines[4])


def test_library_in_the_cache_is_not_made_again(made, monkeypatch, capsys):
    _use(monkeypatch, cuda=CUDA, without_cuda="")
    there = Path("/cache/kmrcnn_tensorflow_2.21.0_cuda_x86_64_0.so")
    monkeypatch.setattr(build, "find", lambda recipe, folder: there)
    assert command.main([]) == 0
    assert made == []
    text = capsys.readouterr().out
    assert "/cuda/bin/nvcc, compute capability 80, 90, 90 as PTX for later GPUs\n" in text
    assert f"library   {there}\n          with CUDA kernels, from the cache\n" in text


def test_other_target_needs_no_tensorflow(made, monkeypatch):
    monkeypatch.setattr(command, "import_quietly", lambda name: pytest.fail(f"{name} imported"))
    assert command.main(["--target", "kernels"]) == 0
    assert made == ["kernels"]


def test_failed_build_is_told_and_exits_with_2(made, monkeypatch, capsys):
    def fail(target):
        raise build.BuildError("g++ failed: no space\ng++ -c cpu.cc")

    monkeypatch.setattr(build, "find_or_build", fail)
    assert command.main([]) == 2
    told = capsys.readouterr()
    assert told.err == "kmrcnn.custom_ops: g++ failed: no space\ng++ -c cpu.cc\n"
    assert "compiler  /bin/g++" in told.out


@pytest.fixture
def without_library(made, monkeypatch):
    """The self-test runs on the forms that need no library."""
    monkeypatch.setattr(package, "is_compiled", lambda: False)
    monkeypatch.setattr(library, "is_compiled", lambda: False)
    monkeypatch.setenv("KMRCNN_OPS", "off")


def test_check_names_forms_and_devices(without_library, capsys):
    assert command.main(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "device    /device:CPU:0" in lines and lines[-1] == "all checks passed"
    passed = [line for line in lines if line.startswith("ok ")]
    assert len(passed) >= 14
    assert {line.split()[1] for line in passed} == {"crop_and_resize,", "reference,"}
    assert sum("gradient" in line for line in passed) == 2


def test_check_fails_where_the_op_should_be_compiled(without_library, monkeypatch, capsys):
    monkeypatch.setenv("KMRCNN_OPS", "auto")
    assert command.main(["--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAILED    the compiled op cannot be used; another form is tested" in lines
    assert lines[-1] == "some checks FAILED"


def _failures(monkeypatch, capsys, operator) -> list[str]:
    """What the self-test finds wrong with an operator."""
    monkeypatch.setattr(package, "roi_align", operator)
    assert command.main(["--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "some checks FAILED"
    return [line for line in lines if line.startswith("FAILED ")]


def test_check_finds_wrong_values(without_library, monkeypatch, capsys):
    right = package.roi_align
    failed = _failures(monkeypatch, capsys, lambda *args, **names: right(*args, **names) + 0.01)
    assert all("off by 1.0e-02" in line for line in failed if "float32, box" in line)
    assert sum("float32, box" in line for line in failed) == 8
    assert sum("gradient" in line for line in failed) == 2


def test_check_finds_a_wrong_gradient(without_library, monkeypatch, capsys):
    right = package.roi_align

    def wrong(features, *args, **names):
        pooled = right(features, *args, **names)
        return pooled / 2 + tf.stop_gradient(pooled / 2)

    failed = _failures(monkeypatch, capsys, wrong)
    assert len(failed) == 2 and all("gradient" in line for line in failed)


def test_check_tells_of_an_operator_that_cannot_run(without_library, monkeypatch, capsys):
    def fail(*args, **names):
        raise tf.errors.NotFoundError(None, None, "no kernel for this device\nand more")

    failed = _failures(monkeypatch, capsys, fail)
    assert len(failed) >= 14 and all("no kernel for this device" in line for line in failed)


def test_check_finds_an_operator_on_another_device(without_library):
    with pytest.raises(RuntimeError, match="it ran on .*CPU:0"):
        command._ramp_error("GPU", *command._POOLED[0], "float32")


def test_check_of_the_compiled_op(capsys):
    if not library.is_compiled():
        pytest.skip("there is no compiled op here")
    assert command.main(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("  compiled, " in line for line in lines if line.startswith("ok "))
    assert lines[-1] == "all checks passed"
