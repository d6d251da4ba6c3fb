import json

import pytest

from kmrcnn.data.datasets import open_dataset

COCO = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}


def test_unknown_things_are_errors_that_say_what_is_known(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(ValueError, match="not recognised.*coco.*yolo"):
        open_dataset(tmp_path)
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"a\.json is JSON, but of none"):
        open_dataset(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not a JSON file"):
        open_dataset(tmp_path / "a.json")
    with pytest.raises(ValueError, match="`format` must be one of.*Received: 'excel'"):
        open_dataset(tmp_path, format="excel")


def test_options_that_a_format_does_not_have_are_errors(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(COCO))
    with pytest.raises(ValueError, match="coco has no splits"):
        open_dataset(path, split="val")
    with pytest.raises(ValueError, match="tfrecord takes no `images`"):
        open_dataset(tmp_path, tmp_path, format="tfrecord")


def test_the_only_file_in_a_folder_is_found(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.json").write_text(json.dumps(COCO))
    (tmp_path / "annotations" / "settings.json").write_text("{}")
    assert open_dataset(tmp_path).class_names == ("cat",)
    (tmp_path / "annotations" / "b.json").write_text(json.dumps(COCO))
    with pytest.raises(ValueError, match=r"several datasets.*a\.json.*b\.json"):
        open_dataset(tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("source", "images", "classes"),
    [
        ("nuclei_he", 80, ("nucleus",)),
        ("nuclei/val", 70, ("object",)),
        ("balloon/val", 13, ("object",)),
        ("coco_person/annotations/person_keypoints_val.json", 56, ("person",)),
        ("voc_mini/ImageSets/Segmentation/val.txt", 12, None),
        ("bccd_voc", 364, ("Platelets", "RBC", "WBC")),
        ("cityscapes_dummy", 1, None),
    ],
)
def test_formats_are_recognised(data_dir, source, images, classes):
    dataset = open_dataset(data_dir / source)
    assert len(dataset) == images
    assert classes is None or dataset.class_names == classes
