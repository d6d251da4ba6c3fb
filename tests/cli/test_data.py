import json

import numpy as np
import pytest
from PIL import Image

from kmrcnn.cli.__main__ import main
from kmrcnn.data.datasets import open_dataset

SQUARE = [2, 3, 12, 3, 12, 9, 2, 9]


@pytest.fixture
def source(tmp_path):
    """A COCO file of four pictures, one object each; the last has no area."""
    images, annotations = [], []
    (tmp_path / "in").mkdir()
    for number in range(1, 5):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 20, "width": 30})
        width = 0 if number == 4 else 10
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 5,
                "bbox": [2, 3, width, 6],
                "area": 60,
                "iscrowd": 0,
                "segmentation": [SQUARE],
            }
        )
    categories = [{"id": 5, "name": "cat"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = tmp_path / "in" / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def run(*arguments):
    return main(["data", *map(str, arguments)])


@pytest.mark.parametrize("sub_verb", ["check", "view", "convert"])
def test_every_sub_verb_has_help_with_an_example(sub_verb, capsys):
    with pytest.raises(SystemExit) as stop:
        run(sub_verb, "--help")
    assert stop.value.code == 0
    assert f"  kmrcnn data {sub_verb}" in capsys.readouterr().out.split("example")[-1]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("out.json", []),
        ("out", ["--format", "labelme", "--tolerance", "0"]),
        ("out", ["--format", "tfrecord", "--shards", "2"]),
    ],
)
def test_convert_reports_what_it_leaves_out(source, tmp_path, capsys, target, options):
    assert run("convert", source, tmp_path / target, *options) == 1
    text = capsys.readouterr().out
    assert "annotations: 4 images (1 without objects), 3 instances" in text
    assert "left out, zero-area-box (image 4)" in text and f"written: {tmp_path / target}" in text
    found = open_dataset(tmp_path / target)
    assert [len(record.instances) for record in found.records] == [1, 1, 1, 0]
    assert found[0].full_masks().sum() == 60


def test_convert_out_of_tfrecord(source, tmp_path, capfd):
    run("convert", source, tmp_path / "shards", "--format", "tfrecord")
    assert run("convert", tmp_path / "shards", tmp_path / "out.json") == 0
    assert len(open_dataset(tmp_path / "out.json")) == 4
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out"], "say which --format"),
        (["out", "--format", "coco"], "a file that ends in .json"),
        (["out.json", "--format", "tfrecord"], "a folder"),
        (["out.json", "--shards", "2"], "--shards is for tfrecord"),
        (["in/annotations.json"], "--overwrite replaces it"),
        (["in", "--format", "labelme"], "--overwrite replaces it"),
        (["out.json", "--split", "val"], "coco has no splits"),
        (["out.json", "--class-names", "dog"], "class_names"),
        (["out.json", "--source-format", "excel"], "`format` must be one of"),
    ],
)
def test_convert_says_what_is_wrong(source, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = source.read_bytes()
    assert run("convert", source, *arguments) == 2
    assert message in capsys.readouterr().err
    assert source.read_bytes() == before and not (tmp_path / "out").exists()


def test_convert_overwrites_when_asked(source, tmp_path, capsys):
    (tmp_path / "out.json").write_text("old")
    assert run("convert", source, tmp_path / "out.json", "--overwrite") == 1
    assert len(open_dataset(tmp_path / "out.json")) == 4


@pytest.mark.parametrize("number", [2, 99])
def test_view_draws_samples(source, tmp_path, capsys, number):
    assert run("view", source, "--output", tmp_path / "out", "--number", number) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == min(number, 4) and set(names) <= {"1.png", "2.png", "3.png", "4.png"}
    drawn = np.asarray(Image.open(tmp_path / "out" / names[0]))
    original = np.asarray(Image.open(source.parent / names[0]))
    assert drawn.shape == original.shape and (drawn != original).any()
    assert f"written: {len(names)} pictures" in capsys.readouterr().out


def test_view_augments(source, tmp_path, capsys):
    still = ["--augment", "--set", "data.horizontal_flip=0"]
    mirrored = ["--augment", "--set", "data.horizontal_flip=1"]
    pictures = []
    for number, options in enumerate(([], still, mirrored)):
        out = tmp_path / str(number)
        assert run("view", source, "--output", out, *options) == 0
        pictures.append(np.asarray(Image.open(out / "4.png")))  # has no object, so no letters
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0][:, ::-1], pictures[2])


def test_view_goes_on_after_an_unreadable_picture(source, tmp_path, capsys):
    (source.parent / "2.png").write_text("no picture")
    assert run("view", source, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "skipped" in captured.err and "2.png" in captured.err
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize("options", [["--number", "0"], ["--set", "data.rotation=1"]])
def test_view_says_what_is_wrong(source, tmp_path, capsys, options):
    assert run("view", source, "--output", tmp_path / "out", *options) == 2
    assert options[0] in capsys.readouterr().err
