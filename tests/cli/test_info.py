import argparse

import pytest
import yaml

from kmrcnn.cli import info
from kmrcnn.cli.__main__ import main
from kmrcnn.config.loader import from_dict
from kmrcnn.config.schema import Preset
from kmrcnn.config.train_schema import Experiment

SMALL = """
model:
  num_classes: 2
  class_names: [cat, dog]
  input: {short_side: 60, long_side: 120}
  backbone: {name: resnet18, blocks: [1, 1, 1, 1], stem_channels: 4, res2_channels: 4}
  neck: {channels: 4}
  rpn: {post_nms_top_n: 30}
  box: {pooled_size: 3, fc_channels: 5, max_detections: 7}
  mask: {pooled_size: 4, num_convs: 1, channels: 4}
"""
PUBLISHED = "published count"


def _run(tmp_path, *arguments, text=SMALL):
    (tmp_path / "small.yaml").write_text(text)
    parser = argparse.ArgumentParser()
    info.add_parser(parser.add_subparsers())
    args = parser.parse_args(["info", str(tmp_path / "small.yaml"), *arguments])
    return info.run(args)


def _parts(out):
    lines = out[out.index("\nPART") :].strip().splitlines()[1:]
    rows = [line.split() for line in lines if not line.startswith(PUBLISHED)]
    return {name: [int(n.replace(",", "")) for n in numbers] for name, *numbers in rows}


def test_info_prints_the_resolved_config(tmp_path, capsys):
    assert _run(tmp_path) == 0
    text = capsys.readouterr().out.split("\nLAYER")[0]
    preset = from_dict(Preset, yaml.safe_load(text))
    assert preset.name == "small" and preset.model.backbone.res2_channels == 4
    assert "nms_threshold: 0.7" in text  # a default


def test_info_shows_how_a_training_configuration_trains(tmp_path, capsys):
    text = SMALL + "train: {epochs: 3}\ndata: {rotation: 0.5}\n"
    assert _run(tmp_path, "--num-classes", "4", text=text) == 0
    printed = capsys.readouterr().out.split("\nLAYER")[0]
    experiment = from_dict(Experiment, yaml.safe_load(printed))
    assert (experiment.train.epochs, experiment.data.rotation) == (3, 0.5)
    assert experiment.model.num_classes == 4
    _run(tmp_path)
    assert "\ntrain:" not in capsys.readouterr().out.split("\nLAYER")[0]


def test_info_states_the_size_and_numbers_it_counts_for(tmp_path, capsys):
    _run(tmp_path)
    # 480 x 640 becomes 60 x 80, padded to multiples of 32
    assert "At 64 x 96 pixels, 30 proposals, 7 detections" in capsys.readouterr().out


def test_parts_add_up_and_grow_with_the_image(tmp_path, capsys):
    _run(tmp_path, "--image-size", "64", "64")
    small = _parts(capsys.readouterr().out)
    _run(tmp_path, "--image-size", "65", "128")
    large = _parts(capsys.readouterr().out)
    total = small.pop("total")
    assert list(small) == ["normalize", "backbone", "neck", "rpn", "box", "mask"]
    assert total == [sum(column) for column in zip(*small.values())]
    assert large["backbone"] == [small["backbone"][0], small["backbone"][1] * 3]  # 96 x 128
    assert large["box"] == small["box"]


def test_layers_are_listed(tmp_path, capsys):
    _run(tmp_path, "--image-size", "64", "64")
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("roi_heads/box/fc2 ")]
    assert line.split()[1:] == ["5", "x", "5", "30", "30", "750"]


def test_published_count_only_for_torchvisions_weights(tmp_path, capsys):
    ours = "checkpoints:\n  coco: {format: detectron2, url: 'https://weights.invalid/a.pkl'}\n"
    _run(tmp_path, text=SMALL + ours)
    assert PUBLISHED not in capsys.readouterr().out
    theirs = ours.replace("detectron2", "torchvision")
    _run(tmp_path, text=SMALL + theirs)
    out = capsys.readouterr().out
    count = int(out.strip().rpartition(" ")[2].replace(",", ""))
    assert PUBLISHED in out and count == _parts(out)["total"][0] + (5 + 1) * 4 + (4 + 1)
    _run(tmp_path, "--num-classes", "5", text=SMALL + theirs)
    assert PUBLISHED not in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [["maskrcnn_resnet50"], ["maskrcnn_resnet50_fpn", "--image-size", "0", "9"]]
)
def test_info_explains_wrong_arguments(argv, capsys):
    assert main(["info", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kmrcnn info: ") and argv[-1] in error
