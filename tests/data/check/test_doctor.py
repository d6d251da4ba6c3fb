import json

import pytest

from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.check.doctor import examine
from kmrcnn.data.check.kinds import KINDS, LOADERS_ONLY
from kmrcnn.data.check.repair import repair
from kmrcnn.data.check.report import report
from kmrcnn.data.datasets import open_dataset
from tests.data.check.faulty_folder import sound_document, write_faulty_folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    return folder, write_faulty_folder(folder)


@pytest.fixture(scope="module")
def found(faulty):
    return examine(faulty[0] / "faulty.json", faulty[0])


def test_every_fault_is_found_and_nothing_else(faulty, found):
    _, expected = faulty
    places = {(one.kind, one.image_id, one.annotation_id) for one in found.problems}
    assert places == expected


def test_the_folder_has_one_of_each_kind(faulty):
    kinds = {kind for kind, _, _ in faulty[1]}
    assert kinds == set(KINDS) - set(LOADERS_ONLY) - {"low-anchor-match", "thin-tip"}


def test_cleaned_copy_passes_the_check(tmp_path, faulty, found):
    folder, _ = faulty
    before = (folder / "faulty.json").read_bytes()
    repair(found).write(tmp_path / "clean.json")
    assert (folder / "faulty.json").read_bytes() == before
    again = examine(tmp_path / "clean.json", folder)
    assert again.faults == []
    dataset = open_dataset(tmp_path / "clean.json", folder)
    assert dataset.problems == []
    assert [record.image_id for record in dataset.records] == [1, 5, 7, 8, 10, 11]
    for example in dataset:  # pictures are read, sizes agree
        assert len(example.masks) == len(example.boxes)


def test_cleaned_copy_mends_what_it_can(found):
    document = repair(found).document
    by_id = {entry["id"]: entry for entry in document["annotations"]}
    assert by_id[200]["bbox"] == [2, 2, 10, 10]  # without area: the mask's box
    assert by_id[202]["bbox"] == [70, 40, 10, 20]  # clipped
    assert by_id[210]["bbox"] == [52, 22, 10, 10]  # off its mask
    assert 301 not in by_id and not {204, 205, 206, 207, 208, 209} & set(by_id)
    assert by_id[101]["note"] == "kept" and document["info"] == {"year": 2024}
    assert all(image["licence"] == 4 for image in document["images"])
    # the picture is turned by 90 degrees clockwise: x of the new is height - y of the old
    assert by_id[105]["bbox"] == [60 - 18, 5, 10, 10]
    assert [c["id"] for c in document["categories"]] == [1, 2, 5]


def test_damage_in_the_middle_shows_when_decoded(tmp_path):
    folder = tmp_path
    write_faulty_folder(folder)
    data = bytearray((folder / "1.png").read_bytes())
    data[500:600] = bytes(100)
    (folder / "1.png").write_bytes(bytes(data))
    (folder / "one.json").write_text(json.dumps(sound_document()))
    assert examine(folder / "one.json", folder).faults == []
    faults = examine(folder / "one.json", folder, decode=True).faults
    assert [fault.kind for fault in faults] == ["unreadable-image"]


def test_a_sound_file_has_no_problems(tmp_path):
    write_faulty_folder(tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(sound_document()))
    found = examine(tmp_path / "one.json", tmp_path, model=ModelConfig())
    assert found.problems == []
    assert "no faults found" in report(found)


def test_report_names_kinds_and_shows_five_examples(tmp_path):
    write_faulty_folder(tmp_path)
    document = sound_document()
    document["annotations"] = [
        {**document["annotations"][0], "id": number, "bbox": [5, 8, 0, number]}
        for number in range(1, 9)
    ]
    (tmp_path / "one.json").write_text(json.dumps(document))
    text = report(examine(tmp_path / "one.json", tmp_path))
    assert "FAULT zero-area-box, 8: boxes without area" in text
    assert text.count("has 0 x") == 5 and "... and 3 more" in text
    assert "8 faults of 1 kind" in text


def test_pictures_that_are_nowhere_are_all_missing(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(sound_document()))
    assert [fault.kind for fault in examine(tmp_path / "one.json").faults] == ["missing-image"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name,ids",
    [("train2017", {1136436, 282277, 284227, 688994}), ("val2017", {1206737})],
)
def test_thin_tips_in_coco_are_no_faults(data_dir, tmp_path, name, ids):
    root = data_dir / "coco_mini"
    found = examine(root / "annotations" / f"instances_{name}.json")
    assert found.faults == []
    assert {one.annotation_id for one in found.by_kind()["thin-tip"]} == ids
    repair(found).write(tmp_path / "clean.json")
    assert examine(tmp_path / "clean.json", root / name).faults == []


@pytest.mark.realdata
def test_boxes_without_area_in_voc(data_dir, tmp_path):
    found = examine(data_dir / "bccd_voc")
    kinds = {kind: len(problems) for kind, problems in found.by_kind().items()}
    assert kinds == {"near-duplicate-box": 7, "zero-area-box": 2}
    assert found.statistics.instances_of_class == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    repair(found).write(tmp_path / "clean.json")
    assert examine(tmp_path / "clean.json", data_dir / "bccd_voc" / "JPEGImages").faults == []


@pytest.mark.realdata
@pytest.mark.parametrize("name,count", [("voc_mini", 132), ("balloon/train", 255)])
def test_cleaned_copies_of_other_formats(data_dir, tmp_path, name, count):
    found = examine(data_dir / name)
    mended = repair(found)
    mended.write(tmp_path / "clean.json")
    again = examine(tmp_path / "clean.json", mended.images)
    assert again.faults == []
    assert again.statistics.num_masks == again.statistics.num_instances == count
    assert again.statistics.instances_of_class == found.statistics.instances_of_class
