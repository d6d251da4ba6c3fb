import argparse
import json

import pytest
from PIL import Image

from kmrcnn.cli import data_check
from tests.data.check.faulty_folder import sound_document, write_faulty_folder


def _run(*arguments):
    parser = argparse.ArgumentParser()
    data_check.add_parser(parser.add_subparsers())
    return data_check.run(parser.parse_args(["check", *map(str, arguments)]))


@pytest.fixture
def sound(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "1.png")
    (tmp_path / "sound.json").write_text(json.dumps(sound_document()))
    return tmp_path / "sound.json"


def test_a_sound_dataset_gives_zero(sound, capsys):
    assert _run(sound) == 0
    printed = capsys.readouterr().out
    assert "1 image, 1 object (1 with a mask), 1 class\n" in printed
    assert "an anchor of mask_rcnn_R_50_FPN_3x fits" in printed
    assert "no faults found" in printed


def test_faults_give_one_and_are_written(tmp_path, capsys):
    expected = write_faulty_folder(tmp_path)
    out = tmp_path / "found.json"
    source = tmp_path / "faulty.json"
    assert _run(source, "--images", tmp_path, "--model", "none", "--json", out) == 1
    printed = capsys.readouterr().out
    assert "FAULT zero-area-box, 1: boxes without area" in printed and "anchor" not in printed
    found = json.loads(out.read_text())
    assert {(p["kind"], p["image_id"], p["annotation_id"]) for p in found["problems"]} == expected
    assert found["counts"]["unreadable-image"] == 2 and found["is_clean"] is False
    assert found["statistics"]["instances_of_class"]["owl"] == 0


def test_fixed_copy_is_clean(tmp_path, capsys):
    write_faulty_folder(tmp_path)
    source, fixed = tmp_path / "faulty.json", tmp_path / "out" / "fixed.json"
    assert _run(source, "--model", "none", "--fix", fixed) == 1
    printed = capsys.readouterr().out
    assert "with 6 of 12 images" in printed
    assert "1 boxes off their mask: the mask's box is taken" in printed
    assert _run(fixed, "--images", tmp_path, "--model", "none") == 0


@pytest.mark.parametrize(
    "target,part",
    [("sound.json", "never changed"), ("there.json", "--overwrite"), ("a.txt", ".json")],
)
def test_targets_that_would_do_harm(sound, target, part):
    (sound.parent / "there.json").write_text("precious")
    before = sound.read_bytes()
    with pytest.raises(ValueError, match=part):
        _run(sound, "--model", "none", "--fix", sound.parent / target)
    assert (sound.parent / "there.json").read_text() == "precious"
    assert sound.read_bytes() == before


def test_overwrite_replaces_another_file(sound):
    target = sound.parent / "there.json"
    target.write_text("old")
    assert _run(sound, "--model", "none", "--fix", target, "--overwrite") == 0
    assert json.loads(target.read_text())["annotations"][0]["note"] == "kept"


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [], "annotations": []}'])
def test_what_is_no_dataset_raises(tmp_path, content):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json"):
        _run(tmp_path / "broken.json", "--model", "none")
