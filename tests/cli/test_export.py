"""`kmrcnn export` with formats that run in this process."""

import argparse
import errno
import json
import os
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from kmrcnn.cli import export_run
from kmrcnn.cli.__main__ import main
from kmrcnn.cli.export import add_parser
from kmrcnn.config.loader import load_preset
from kmrcnn.export import FORMATS, metadata
from kmrcnn.export.formats import Format
from kmrcnn.models import zoo
from tests.conftest import ROOT
from tests.export import stand_in
from tests.tiny import tiny_model

MODEL = ("mask_rcnn_r18_coins", "--weights", "bundled")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(autouse=True)
def formats(monkeypatch, model):
    """Stand-ins for onnx and saved_model, a tflite that lacks a package, and a small model."""
    name = stand_in.__name__
    monkeypatch.setattr(stand_in, "planted", [])
    monkeypatch.setattr(stand_in, "during_write", [])
    monkeypatch.delitem(FORMATS, "tensorrt")
    monkeypatch.setitem(FORMATS, "saved_model", Format(name, ("float32",), fixed_size=True))
    onnx = Format(name, ("float32", "float16", "int8"), fixed_size=True)
    monkeypatch.setitem(FORMATS, "onnx", onnx)
    absent = Format("kmrcnn.export.absent", ("float32",), fixed_size=True)
    monkeypatch.setitem(FORMATS, "tflite", absent)
    monkeypatch.setattr(zoo, "load_model", lambda preset, weights=None: model)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = rng.integers(0, 256, (10, 15, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((150, 90)).save(folder / name)
    return folder


def export(*argv) -> int:
    return main(["export", *MODEL, *map(str, argv)])


def test_one_format_into_the_folder(tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--image-size", 64, 96, "--score-threshold", 0.2, "--nms-threshold", 0.4)
    assert export("--format", "onnx", "--output", out, *options, "--max-detections", 5) == 0
    written = metadata.read(out)
    assert (written["image_size"], written["max_detections"]) == ([64, 96], 5)
    assert (written["score_threshold"], written["nms_threshold"]) == (0.2, 0.4)
    text = capsys.readouterr().out
    assert f"[1/1] onnx float32 -> {out}" in text and f"written: {out} (" in text


def test_several_precisions_beside_each_other(tmp_path):
    out = tmp_path / "out"
    precisions = ("--precision", "float32", "float16")
    assert export("--format", "onnx", "--output", out, *precisions) == 0
    assert sorted(os.listdir(out)) == ["onnx-float16", "onnx-float32"]
    assert metadata.read(out / "onnx-float16")["precision"] == "float16"


def test_all_formats_and_what_cannot_be_had(tmp_path, capsys):
    out = tmp_path / "out"
    assert export("--format", "all", "--output", out, "--image-size", 64, 96) == 0
    assert sorted(os.listdir(out)) == ["onnx-float16", "onnx-float32", "saved_model-float32"]
    text = capsys.readouterr()
    assert text.out.count("written: ") == 3 and "[5/5] tflite float32" in text.out
    assert text.err.splitlines()[-2:] == [
        "not written: onnx int8: int8 takes its ranges from pictures: --calibration DIR",
        "not written: tflite float32: No module named 'kmrcnn.export.absent'",
    ]


def test_options_of_one_format_do_not_stop_the_others(tmp_path):
    out = tmp_path / "out"
    options = ("--batch-size", 2, "--precision", "float32")
    assert export("--format", "all", "--output", out, *options) == 0
    assert metadata.read(out / "onnx-float32")["batch_size"] == 2
    assert metadata.read(out / "saved_model-float32")["batch_size"] == 1
    assert export("--format", "onnx", "--output", tmp_path / "one", "--paste-masks") == 2
    assert not (tmp_path / "one").exists()
    assert export("--format", "onnx", "--output", tmp_path / "one", "--model-version", 2) == 2
    assert (
        export("--format", "saved_model", "--output", tmp_path / "one", "--model-version", 2) == 0
    )


def test_verification_is_printed_and_written(tmp_path, photos, capsys):
    out = tmp_path / "out"
    verify = ("--verify", "--images", photos, "--limit", 1)
    assert export("--format", "onnx", "--output", out, *verify) == 0
    assert json.loads((out / "verification.json").read_text())["comparison"]["pictures"] == 1
    text = capsys.readouterr().out
    assert "matched detections" in text and "Within the tolerance." in text


def test_beyond_the_tolerance_is_exit_code_1(tmp_path, photos, capsys):
    stand_in.planted.append(lambda outputs: outputs | {"boxes": outputs["boxes"] + 1.0})
    out = tmp_path / "out"
    assert export("--format", "onnx", "--output", out, "--verify", "--images", photos) == 1
    text = capsys.readouterr()
    assert "BEYOND THE TOLERANCE" in text.out
    assert text.err.splitlines()[-1].startswith("beyond the tolerance: onnx float32: box diff")


@pytest.mark.parametrize("name, code", [("onnx", 1), ("all", 0)])
def test_an_artefact_without_its_engine_is_not_verified(
    tmp_path, photos, capsys, monkeypatch, name, code
):
    write = stand_in.write
    missing = {"engine_missing": "no TensorRT"}
    monkeypatch.setattr(stand_in, "write", lambda *arguments: write(*arguments) | missing)
    arguments = ("--format", name, "--output", tmp_path / "out", "--precision", "float32")
    assert export(*arguments, "--verify", "--images", photos) == code
    assert "not verified: onnx float32: no TensorRT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--verify",), "--verify needs --images DIR"),
        (("--images", "."), "--images needs --verify"),
        (("--limit", "3"), "--limit needs --verify"),
        (("--verify", "--images", "nowhere"), "--images: there is no file or folder nowhere"),
        (("--verify", "--images", ".", "--limit", "0"), "--limit must be at least 1"),
        (("--verify", "--images", os.path.dirname(__file__)), "has no pictures"),
        (("--precision", "float64"), "--precision must be of float32, float16, int8"),
        (("--precision", "int8"), "int8 takes its ranges from pictures: --calibration DIR"),
        (("--calibration", "nowhere"), "--calibration: there is no file or folder nowhere"),
    ],
)
def test_wrong_arguments_are_one_line_before_the_model_is_loaded(
    tmp_path, capsys, monkeypatch, argv, message
):
    monkeypatch.delattr(zoo, "load_model")
    assert export("--format", "onnx", "--output", tmp_path / "out", *argv) == 2
    text = capsys.readouterr().err
    assert text.startswith("kmrcnn export: ") and message in text and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_existing_folders_are_found_before_the_model_is_loaded(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert export("--format", "onnx", "--output", out) == 0
    assert export("--format", "onnx", "--output", out, "--overwrite") == 0
    monkeypatch.delattr(zoo, "load_model")
    assert export("--format", "onnx", "--output", out) == 2
    assert "exists; --overwrite (overwrite=True) replaces it" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    assert export("--format", "onnx", "--output", tmp_path / "photos", "--overwrite") == 2
    assert os.listdir(tmp_path / "photos") == ["a.txt"]


def test_missing_package_alone_is_an_error(tmp_path, capsys):
    assert export("--format", "tflite", "--output", tmp_path / "out") == 2
    assert "No module named 'kmrcnn.export.absent'" in capsys.readouterr().err


def fail(error):
    def happens():
        raise error

    stand_in.during_write.append(happens)


@pytest.mark.parametrize("name", ["onnx", "all"])
def test_disk_full(tmp_path, capsys, name):
    fail(OSError(errno.ENOSPC, "No space left on device"))
    assert export("--format", name, "--output", tmp_path / "out") == 2
    text = capsys.readouterr().err
    assert "No space left on device" in text and str(tmp_path / "out") in text
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []


def test_interrupted(tmp_path):
    fail(KeyboardInterrupt())
    assert export("--format", "onnx", "--output", tmp_path / "out") == 130
    assert os.listdir(tmp_path) == []


def test_one_failing_format_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    real = export_run.export

    def fail_for_float16(model, path, **options):
        if options["precision"] == "float16":
            raise RuntimeError("no kernel")
        return real(model, path, **options)

    monkeypatch.setattr(export_run, "export", fail_for_float16)
    assert export("--format", "all", "--output", tmp_path / "out") == 1
    assert "failed: onnx float16: no kernel" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "out")) == ["onnx-float32", "saved_model-float32"]


def test_commands_of_the_documentation_are_understood():
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^kmrcnn (export .*)$", text, re.M)
    subparsers = argparse.ArgumentParser().add_subparsers()
    add_parser(subparsers)
    for command in commands:
        args = subparsers.choices["export"].parse_args(shlex.split(command)[1:])
        load_preset(args.model)
    assert len(commands) >= 3


def test_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    for name in ("saved_model", "onnx", "tensorrt", "tflite", "all"):
        assert f"\n  {name} " in text
