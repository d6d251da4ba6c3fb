import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from kmrcnn.data.datasets.coco import load_coco

SQUARE = [2, 3, 12, 3, 12, 9, 2, 9]  # x 2..12, y 3..9
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def annotation(number=1, **changes):
    fields = {
        "id": number,
        "image_id": 1,
        "category_id": 3,
        "bbox": [2, 3, 10, 6],
        "area": 60.0,
        "iscrowd": 0,
        "segmentation": [SQUARE],
    }
    fields |= changes
    return {key: value for key, value in fields.items() if value is not ...}


@pytest.fixture
def load(tmp_path, save_picture):
    """Loads a COCO file with the given annotations and one picture of 20 x 30 (height, width)."""

    def load(*annotations, images=None, categories=CATEGORIES, images_folder=None, **options):
        save_picture(tmp_path / "images" / "a.png")
        entry = {"id": 1, "file_name": "a.png", "height": 20, "width": 30}
        document = {
            "images": [entry] if images is None else images,
            "annotations": list(annotations),
            "categories": categories,
        }
        (tmp_path / "annotations.json").write_text(json.dumps(document))
        return load_coco(tmp_path / "annotations.json", images_folder, **options)

    return load


def test_polygon_gives_box_class_and_mask(load):
    dataset = load(annotation())
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (3, 7)
    example = dataset[0]
    np.testing.assert_array_equal(example.boxes, [[2, 3, 12, 9]])
    assert example.classes.tolist() == [0] and example.area.tolist() == [60]
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:12] = True
    np.testing.assert_array_equal(example.full_masks()[0], expected)
    assert example.image_id == 1 and example.image.shape == (20, 30, 3)


def test_crowd_with_uncompressed_runs(load):
    runs = [5, 3, 20 * 30 - 8]  # rows 5, 6, 7 of the first column
    crowd = annotation(
        iscrowd=1, segmentation={"size": [20, 30], "counts": runs}, bbox=[0, 5, 1, 3], area=3
    )
    example = load(crowd)[0]
    assert example.is_crowd.tolist() == [True]
    assert np.argwhere(example.full_masks()[0]).tolist() == [[5, 0], [6, 0], [7, 0]]


def test_compressed_runs(load):
    # runs 0, 4, 596 in fives of bits, low ones first, 32 for "goes on", from character "0":
    # 0 | 4 | 20 + 32, 18 + 32, 0
    example = load(annotation(segmentation={"size": [20, 30], "counts": "04db0"}, area=4))[0]
    assert np.argwhere(example.full_masks()[0]).tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]


def test_keypoints(load):
    categories = [{"id": 3, "name": "cat", "keypoints": ["nose", "tail"]}]
    dataset = load(
        annotation(1, keypoints=[4, 5, 2, 0, 0, 0], num_keypoints=1),
        annotation(2, keypoints=...),
        annotation(3, keypoints=[1, 2, 2]),
        categories=categories,
    )
    assert dataset.keypoint_names == ("nose", "tail")
    example = dataset[0]
    assert example.keypoints.shape == (3, 2, 3)
    assert example.keypoints[0].tolist() == [[4, 5, 2], [0, 0, 0]]
    assert not example.keypoints[1:].any()
    assert [problem.kind for problem in dataset.problems] == ["bad-keypoints"]


def test_boxes_only(load):
    dataset = load(annotation(1, segmentation=...), annotation(2, segmentation=[]))
    assert not dataset.has_masks and dataset.problems == []
    assert dataset[0].masks is None and len(dataset[0].boxes) == 2


def test_pictures_without_objects_stay(load):
    dataset = load()
    assert len(dataset) == 1 and dataset[0].boxes.shape == (0, 4)


def test_class_names_choose_and_order(load):
    dataset = load(annotation(1), annotation(2, category_id=7), class_names=["dog"])
    assert dataset.category_ids == (7,) and dataset.problems == []
    assert [one.annotation_id for one in dataset.records[0].instances] == [2]
    with pytest.raises(ValueError, match="class_names.*horse"):
        load(annotation(), class_names=["horse"])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"bbox": [2, 3, 0, 6]}, "zero-area-box"),
        ({"bbox": [2, 3, -5, 6]}, "zero-area-box"),
        ({"bbox": [40, 3, 5, 6]}, "box-outside-image"),
        ({"bbox": [-9, 3, 5, 6]}, "box-outside-image"),
        ({"bbox": [2, 3, 10]}, "bad-box"),
        ({"bbox": [2, 3, 10, float("nan")]}, "bad-box"),
        ({"bbox": "wide", "segmentation": ...}, "bad-box"),
        ({"category_id": 99}, "unknown-category"),
        ({"category_id": "cat"}, "unknown-category"),
        ({"image_id": 99}, "unknown-image"),
        ({"image_id": ...}, "broken-record"),
        ({"segmentation": [[2, 3, 12, 3]]}, "polygon-too-short"),
        ({"segmentation": [[2, 3, 12, 3, 12]]}, "bad-polygon"),
        ({"segmentation": [["x"] * 6]}, "bad-polygon"),
        ({"segmentation": 5}, "bad-polygon"),
        ({"segmentation": {"size": [30, 20], "counts": [0, 600]}}, "rle-size-mismatch"),
        ({"segmentation": {"size": [20, 30], "counts": [0, 60]}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": "04"}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": "é~"}}, "bad-rle"),
        ({"segmentation": {"counts": [600]}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": [600]}}, "empty-mask"),
        ({"segmentation": ...}, "missing-mask"),
        ({"bbox": [10**400] * 4}, "bad-box"),
        ({"bbox": [0, 0, 1e308, 1e308]}, "bad-box"),
        ({"bbox": [1e308, 3, 1e308, 6]}, "bad-box"),
        ({"bbox": "1234"}, "bad-box"),
        ({"bbox": ["2", "3", "10", "6"]}, "bad-box"),
        ({"segmentation": [[1e12, 0, 1e12, 1e12, 0, 1e12]]}, "bad-polygon"),
        ({"segmentation": [[v for _ in range(2000) for v in (1e6, 0, -1e6, 1)]]}, "bad-polygon"),
        ({"segmentation": [[10**400] * 6]}, "bad-polygon"),
        ({"segmentation": [["1", "1", "9", "1", "9", "9"]]}, "bad-polygon"),
        ({"segmentation": SQUARE}, "bad-polygon"),  # one list too few
        ({"segmentation": {"size": [10**9, 10**9], "counts": [0, 10**18]}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": [10**400]}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": [2**62] * 4 + [600]}}, "bad-rle"),
        ({"segmentation": {"size": [20, 30], "counts": [300, 0, 300]}}, "empty-mask"),
    ],
)
def test_bad_annotations_are_skipped_and_reported(load, problem_kinds, changes, kind):
    dataset = load(annotation(1), annotation(2, **changes))
    assert [one.annotation_id for one in dataset.records[0].instances] == [1]
    assert problem_kinds(dataset) == [kind]
    assert len(dataset[0].boxes) == 1


def test_one_bad_part_of_several_is_dropped(load, problem_kinds):
    dataset = load(annotation(segmentation=[[1, 1, 2, 2], SQUARE]))
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert problem_kinds(dataset) == ["polygon-too-short"]


def test_bad_images_are_skipped_and_reported(load, problem_kinds):
    good = {"id": 1, "file_name": "a.png", "height": 20, "width": 30}
    images = [good, good | {"file_name": "b.png"}, {"id": 2, "file_name": "gone.png"}, {"id": 3}, 4]
    dataset = load(annotation(), images=images)
    assert [record.image_id for record in dataset.records] == [1]
    expected = ["broken-record", "broken-record", "duplicate-image-id", "missing-image"]
    assert problem_kinds(dataset) == expected
    assert "skipped: broken-record 2" in dataset.report()


@pytest.mark.parametrize("area", [10**400, -1, float("nan"), float("inf"), "60", True, [60]])
def test_an_area_that_is_none_is_measured_and_reported(load, problem_kinds, area):
    dataset = load(annotation(area=area))
    assert problem_kinds(dataset) == ["bad-area"]
    assert dataset[0].area.tolist() == [60]


@pytest.mark.parametrize("height", [10**400, 0, -20, float("nan"), "20", 20.5, True])
def test_an_image_size_that_is_none_is_the_pictures_and_reported(load, problem_kinds, height):
    image = {"id": 1, "file_name": "a.png", "height": height, "width": 30}
    dataset = load(annotation(), images=[image])
    assert problem_kinds(dataset) == ["bad-image-size"]
    assert dataset[0].full_masks().shape == (1, 20, 30)


@pytest.mark.parametrize("value", [10**400, 1e300, float("nan"), "x"])
def test_keypoints_that_are_no_numbers_are_left_out(load, problem_kinds, value):
    categories = [{"id": 3, "name": "cat", "keypoints": ["nose"]}]
    dataset = load(annotation(keypoints=[value, 5, 2]), categories=categories)
    assert problem_kinds(dataset) == ["bad-keypoints"]
    assert not dataset[0].keypoints.any()


@pytest.mark.parametrize("names", [5, "nose", {"nose": 1}, []])
def test_names_of_keypoints_are_a_list(load, names):
    categories = [{"id": 3, "name": "cat", "keypoints": names}]
    assert load(annotation(), categories=categories).keypoint_names == ()


@pytest.mark.parametrize("name", ["x" * 5000, "a\0.png", "../" * 3000 + "a.png"])
def test_names_that_no_file_can_have_are_missing_pictures(load, problem_kinds, name):
    good = {"id": 1, "file_name": "a.png", "height": 20, "width": 30}
    dataset = load(annotation(), images=[good, {"id": 2, "file_name": name}])
    assert problem_kinds(dataset) == ["missing-image"]


def test_a_picture_of_another_size_is_an_error_that_names_it(load):
    dataset = load(images=[{"id": 1, "file_name": "a.png", "height": 30, "width": 20}])
    with pytest.raises(ValueError, match=r"a\.png is 20 x 30 .* annotations are for 30 x 20"):
        dataset[0]


def test_a_wrong_folder_of_pictures_is_an_error_that_names_it(load, tmp_path):
    with pytest.raises(ValueError, match=r"'a\.png'; looked in .*elsewhere"):
        load(annotation(), images_folder=tmp_path / "elsewhere")


def test_missing_pictures_can_be_allowed(load):
    images = [{"id": 1, "file_name": "gone.png", "height": 20, "width": 30}]
    with pytest.raises(ValueError, match=r"not found, such as 'gone\.png'"):
        load(annotation(), images=images)
    dataset = load(annotation(), images=images, require_images=False)
    assert dataset.records[0].path is None and len(dataset.records[0].instances) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ('{"images": [' + "9" * 5000 + "]}", "not a JSON file"),
        ("[]", "no 'images' and 'annotations'"),
        ('[{"image_id": 1, "score": 0.5}]', "results"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        (
            '{"images": [], "annotations": [{"segments_info": []}], "categories": []}',
            "panoptic",
        ),
    ],
)
def test_an_unusable_file_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"broken\.json.*{message}"):
        load_coco(path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("path", "images", "instances", "crowds", "with_keypoints"),
    [
        ("nuclei/annotations/instances_train.json", 390, 11743, 0, 0),
        ("nuclei/annotations/instances_val.json", 70, 2137, 0, 0),
        ("nuclei_he/instances.json", 80, 3506, 0, 0),
        ("balloon/annotations/instances_train.json", 61, 255, 0, 0),
        ("balloon/annotations/instances_val.json", 13, 50, 0, 0),
        ("coco_mini/annotations/instances_train2017.json", 26, 333, 5, 0),
        ("coco_mini/annotations/instances_val2017.json", 25, 213, 2, 0),
        ("coco_mini/annotations/person_keypoints_train2017.json", 26, 65, 3, 27),
        ("coco_mini/annotations/person_keypoints_val2017.json", 25, 44, 0, 16),
        ("coco_person/annotations/person_keypoints_train.json", 220, 220, 0, 194),
        ("coco_person/annotations/person_keypoints_val.json", 56, 56, 0, 51),
        ("coco_panoptic_mini/annotations/instances_val2017.json", 22, 142, 2, 0),
    ],
)
def test_counts_of_real_data(data_dir, path, images, instances, crowds, with_keypoints):
    dataset = load_coco(data_dir / path)
    found = [one for record in dataset.records for one in record.instances]
    assert (len(dataset), len(found)) == (images, instances)
    assert sum(one.is_crowd for one in found) == crowds
    assert sum(one.keypoints is not None for one in found) == with_keypoints
    assert dataset.problems == []
    example = dataset[3]
    assert len(example.masks) == len(dataset.records[3].instances)


@pytest.mark.realdata
def test_masks_equal_those_of_pycocotools(data_dir):
    path = data_dir / "coco_mini/annotations/instances_train2017.json"
    dataset, reference = load_coco(path), COCO(str(path))
    for index, record in enumerate(dataset.records):
        masks = dataset[index].full_masks()
        for mask, one in zip(masks, record.instances):
            expected = reference.annToMask(reference.anns[one.annotation_id])
            np.testing.assert_array_equal(mask, expected != 0)
