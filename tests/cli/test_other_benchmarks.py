"""Cityscapes and Pascal VOC from their folders to their own metrics, by the command line.

The models are small and learn the pictures that they are then asked for: what is shown is that
reading, training, writing and scoring fit together, not how well a model generalises.
"""

import re

import pytest

from kmrcnn.cli.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.realdata]

SMALL = """
preset: {preset}
weights: null
model:
  input: {{short_side: 256, long_side: 384}}
  backbone:
    {{name: resnet18, stem_channels: 16, res2_channels: 16, freeze_at: 0, norm: group_norm,
      norm_groups: 4}}
  neck: {{channels: 32}}
  anchors: {{sizes: [[16], [32], [64], [128], [256]]}}
  box: {{fc_channels: 128, samples_per_image: 64}}
  mask: {{num_convs: 2, channels: 32}}
data: {{short_sides: [256], workers: 1}}
train:
  epochs: 1
  steps_per_epoch: {steps}
  batch_size: {batch}
  optimizer: {{name: adamw, learning_rate: 0.001, base_batch_size: {batch}, global_clipnorm: 5.0}}
  schedule: {{name: cosine, warmup_updates: 20}}
  tensorboard: false
"""


def run(*argv) -> None:
    assert main([*map(str, argv)]) == 0


def trained(folder, preset, data, steps, batch):
    """The best model of a run of `kmrcnn train`."""
    config = folder / "small.yaml"
    config.write_text(SMALL.format(preset=preset, steps=steps, batch=batch))
    output = folder / "run"
    run("train", config, "--data", data, "--validation", data, "--output", output, "--quiet")
    return output / "best.keras"


def other_figures(text: str, rules: str) -> dict[str, dict[str, float]]:
    """The table that `evaluate --rules` prints after COCO's: {"mask": {"AP50": ...}, ...}."""
    header, *lines = text.split(f"by the rules of {rules}:\n")[1].splitlines()
    columns = re.split(r"\s{2,}", header.strip())
    rows = (line.split() for line in lines if line.strip())
    return {row[0]: dict(zip(columns, map(float, row[1:]))) for row in rows}


def test_cityscapes(data_dir, tmp_path, capsys):
    source = data_dir / "cityscapes_dummy"
    model = trained(tmp_path, "mask_rcnn_R_50_FPN_cityscapes", source, steps=250, batch=1)
    run("evaluate", model, "--annotations", source, "--rules", "cityscapes")
    figures = other_figures(capsys.readouterr().out, "cityscapes")
    print(figures)
    assert figures["mask"]["AP50"] > 50


def test_voc_with_masks(data_dir, tmp_path, capsys):
    source = data_dir / "voc_mini" / "ImageSets" / "Segmentation" / "train.txt"
    model = trained(tmp_path, "mask_rcnn_R_50_FPN_voc", source, steps=300, batch=2)
    run("evaluate", model, "--annotations", source, "--rules", "voc")
    figures = other_figures(capsys.readouterr().out, "voc")
    print(figures)
    assert figures["box"]["AP50"] > 10 and figures["mask"]["AP50"] > 10
