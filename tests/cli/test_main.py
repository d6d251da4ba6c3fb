"""The command itself: help, version, errors, exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

import kmrcnn
from kmrcnn.cli import presets
from kmrcnn.cli.__main__ import VERBS, main


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"kmrcnn {kmrcnn.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text and f"  kmrcnn {verb}" in text.split("example")[-1]


@pytest.mark.parametrize("argv", [[], ["paint"], ["predict"], ["predict", "a.jpg", "--save", "x"]])
def test_wrong_usage_exits_with_2(argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ImportError])
def test_expected_errors_are_one_line(monkeypatch, capsys, error):
    def fail(args):
        raise error("something\n   is wrong")

    monkeypatch.setattr(presets, "run", fail)
    assert main(["presets"]) == 2
    assert capsys.readouterr().err == "kmrcnn presets: something is wrong\n"


@pytest.mark.parametrize("argv", [["--debug", "presets"], ["presets", "--debug"]])
def test_debug_shows_the_traceback(monkeypatch, capsys, argv):
    def fail(args):
        raise ValueError("wrong")

    monkeypatch.setattr(presets, "run", fail)
    assert main(argv) == 2
    assert "Traceback" in capsys.readouterr().err


def test_unexpected_errors_are_not_hidden(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr(presets, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["presets"])


def test_presets_lists_the_published_models(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = "PRESET, BOX AP, MASK AP, KEYPOINT AP, WEIGHTS, DESCRIPTION"
    assert lines[0].split() == titles.replace(",", "").split()
    for name, figures in {
        "maskrcnn_resnet50_fpn": ["37.9", "34.6", "-"],
        "keypointrcnn_resnet50_fpn": ["54.6", "-", "65.0"],
    }.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert line.split()[1:5] == [*figures, "coco"]


def test_presets_are_grouped_by_task_and_publisher(capsys):
    main(["presets"])
    groups = {}
    for block in capsys.readouterr().out.split("\n\n")[1:]:
        title, *rows = block.splitlines()
        groups[title] = [row.split()[0] for row in rows]
    assert "maskrcnn_resnet50_fpn" in groups["Mask R-CNN, weights of torchvision:"]
    assert "mask_rcnn_R_50_DC5_3x" in groups["Mask R-CNN, weights of detectron2:"]
    assert "keypointrcnn_resnet50_fpn" in groups["Keypoint R-CNN, weights of torchvision:"]
    assert "faster_rcnn_R_101_C4_3x" in groups["Faster R-CNN, weights of detectron2:"]
    assert "mask_rcnn_X_101_64x4d_FPN" in groups["Mask R-CNN, to be trained:"]


def test_presets_lists_training_configurations_apart(capsys):
    main(["presets"])
    models, recipes = capsys.readouterr().out.split("training configurations")
    (line,) = [line for line in recipes.splitlines() if line.startswith("mask_rcnn_balloon ")]
    assert line.split()[1:5] == ["mask_rcnn_R_50_FPN_3x", "coco", "10", "2"]
    assert "mask_rcnn_balloon" not in models  # it has no weights of its own
    assert "mask_rcnn_R_50_FPN_3x" in models and "mask_rcnn_nuclei" in recipes


def test_help_loads_no_heavy_package():
    code = (
        "import sys\n"
        "from kmrcnn.cli.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    root = Path(kmrcnn.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr
    assert "predict" in result.stdout
