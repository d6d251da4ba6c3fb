"""A wheel holds everything: presets, bundled weights, the mapped folders."""

import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "-w", str(folder), str(source)], capture_output=True, text=True
    )
    if "setuptools" in done.stderr and done.returncode:
        pytest.skip("setuptools is not installed beside pip")
    assert done.returncode == 0, done.stderr
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


@pytest.mark.parametrize(
    "name",
    [
        "kmrcnn/predictor.py",
        "kmrcnn/configs/coco/maskrcnn_resnet50_fpn.yaml",
        "kmrcnn/configs/_base_/models/detectron2_fpn.yaml",
        "kmrcnn/configs/custom/mask_rcnn_r18_coins.yaml",
        "kmrcnn/custom_ops/__init__.py",
        "kmrcnn/custom_ops/README.md",
        "kmrcnn/custom_ops/roi_align/roi_align.py",
        "kmrcnn/custom_ops/roi_align/cc/roi_align.h",
        "kmrcnn/custom_ops/roi_align/cc/inner_loops.inc",
        "kmrcnn/custom_ops/roi_align/cc/tensorflow_op.cc",
        "kmrcnn/custom_ops/roi_align/cc/cuda_common.cuh",
        "kmrcnn/custom_ops/roi_align/cc/cuda_forward.cu",
        "kmrcnn/weights/files/mask_rcnn_r18_coins.npz",
        "kmrcnn/export/exporter.py",
        "kmrcnn/export/picture_graph/decode.py",
        "kmrcnn/export/parser_tables.json",
        "kmrcnn/export/run_engine.py",
    ],
)
def test_wheel_holds(wheel, name):
    assert name in wheel


def test_wheel_has_nothing_beside_the_package(wheel):
    top = {name.split("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == {"kmrcnn"}
