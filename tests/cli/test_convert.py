import argparse

import numpy as np
import pytest

from kmrcnn.cli import convert
from kmrcnn.models import zoo
from kmrcnn.weights.canonical import canonical_weights

pytest.importorskip("kmrcnn.models.build")

SMALL = """
model:
  num_classes: 2
  class_names: [cat, dog]
  backbone: {name: resnet18, blocks: [1, 1, 1, 1], stem_channels: 4, res2_channels: 4}
  neck: {channels: 4}
  box: {pooled_size: 3, fc_channels: 5}
  mask: null
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(preset, weight file, arrays)."""
    folder = tmp_path_factory.mktemp("source")
    preset = folder / "small.yaml"
    preset.write_text(SMALL)
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal(tuple(v.shape)).astype(np.float32)
        for name, v in canonical_weights(zoo.load_model(preset)).items()
    }
    np.savez(folder / "a.npz", **arrays)
    return preset, folder / "a.npz", arrays


def _run(*arguments):
    parser = argparse.ArgumentParser()
    convert.add_parser(parser.add_subparsers())
    return convert.run(parser.parse_args(["convert", *map(str, arguments)]))


@pytest.mark.parametrize("name", ["out.keras", "out.weights.h5"])
def test_convert_writes_a_file_that_loads(tmp_path, capsys, source, name):
    preset, weights, arrays = source
    out = tmp_path / name
    assert _run(weights, out, "--model", preset) == 0
    assert "weights loaded" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith(".keras"):
        model = zoo.load_model(out)
    else:
        model = zoo.load_model(preset, weights=out)
    for key, variable in canonical_weights(model).items():
        np.testing.assert_array_equal(np.asarray(variable), arrays[key], err_msg=key)


def test_convert_to_other_classes(tmp_path, capsys, source):
    preset, weights, arrays = source
    out = tmp_path / "out.keras"
    assert _run(weights, out, "--model", preset, "--class-names", "a", "b", "c") == 0
    assert "roi_heads/box/class_logits/kernel" in capsys.readouterr().out
    assert zoo.load_model(out).config.class_names == ("a", "b", "c")


def test_convert_does_not_overwrite_unless_told(tmp_path, source):
    preset, weights, _ = source
    out = tmp_path / "out.weights.h5"
    out.write_bytes(b"precious")
    with pytest.raises(ValueError, match="--overwrite"):
        _run(weights, out, "--model", preset)
    assert out.read_bytes() == b"precious"
    assert _run(weights, out, "--model", preset, "--overwrite") == 0
    assert out.read_bytes() != b"precious"


@pytest.mark.parametrize(
    "src,dst,model,part",
    [
        ("a.npz", "out.h5", "small.yaml", ".weights.h5"),
        ("none.npz", "out.keras", "small.yaml", "none.npz"),
        ("a.npz", "none/out.keras", "small.yaml", "folder"),
        ("a.npz", "out.keras", "mask_rcnn_R_50", "mask_rcnn_R_50_FPN"),
    ],
)
def test_convert_explains_wrong_arguments(tmp_path, source, src, dst, model, part):
    preset, weights, _ = source
    src = weights if src == "a.npz" else tmp_path / src
    with pytest.raises(ValueError, match=part):
        _run(src, tmp_path / dst, "--model", preset if model == "small.yaml" else model)
    assert list(tmp_path.iterdir()) == []


def test_convert_leaves_nothing_of_a_file_that_does_not_fit(tmp_path, source):
    preset, _, arrays = source
    torn = dict(arrays)
    torn.popitem()
    np.savez(tmp_path / "torn.npz", **torn)
    with pytest.raises(ValueError, match="missing"):
        _run(tmp_path / "torn.npz", tmp_path / "out.keras", "--model", preset)
    assert [path.name for path in tmp_path.iterdir()] == ["torn.npz"]
