import json

import numpy as np
import pytest

from kmrcnn.data.datasets.cityscapes import draw_polygons, load_cityscapes


@pytest.fixture
def write(tmp_path, save_picture, save_labels):
    """Writes one picture of 20 x 30 with its instanceIds, and gives the root."""

    def write(numbers, split="train", frame="ulm_000000_000001"):
        folder = f"{split}/ulm"
        save_picture(tmp_path / "leftImg8bit" / folder / f"{frame}_leftImg8bit.png")
        path = tmp_path / "gtFine" / folder / f"{frame}_gtFine_instanceIds.png"
        save_labels(path, numbers, np.uint16)
        return tmp_path

    return write


@pytest.fixture
def numbers():
    """Road 7, two cars, a group of persons, a caravan."""
    numbers = np.full((20, 30), 7)
    numbers[2:6, 3:9] = 26000
    numbers[2:6, 9:12] = 26001
    numbers[10:15, 0:5] = 24
    numbers[16:18, 16:18] = 29000
    return numbers


def test_objects_groups_and_stuff(write, numbers):
    dataset = load_cityscapes(write(numbers))
    assert dataset.class_names[:3] == ("person", "rider", "car")
    assert dataset.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    example = dataset[0]
    assert example.classes.tolist() == [0, 2, 2]
    assert example.is_crowd.tolist() == [True, False, False]
    np.testing.assert_array_equal(example.boxes, [[0, 10, 5, 15], [3, 2, 9, 6], [9, 2, 12, 6]])
    np.testing.assert_array_equal(example.full_masks()[1], numbers == 26000)


def test_splits_and_folders(write, numbers):
    root = write(numbers)
    write(numbers, split="val", frame="ulm_000000_000002")
    assert len(load_cityscapes(root)) == 2
    assert load_cityscapes(root, split="val").records[0].image_id == "ulm_000000_000002"
    assert len(load_cityscapes(root / "gtFine" / "train" / "ulm")) == 1


def test_chosen_classes(write, numbers):
    dataset = load_cityscapes(write(numbers), class_names=["car"])
    assert dataset[0].classes.tolist() == [0, 0]
    with pytest.raises(ValueError, match="class_names.*road"):
        load_cityscapes(write(numbers), class_names=["road"])


def rectangle(label, x1, y1, x2, y2, **more):
    # PIL fills the pixels up to and including the last corner
    corners = [[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]
    return {"label": label, "polygon": corners, **more}


def test_polygons_hide_each_other_in_order():
    objects = [
        rectangle("road", 0, 0, 30, 20),
        rectangle("car", 2, 2, 12, 8),
        rectangle("car", 20, 2, 28, 8, deleted=1),
        rectangle("persongroup", 6, 4, 16, 10),
        rectangle("pole", 3, 0, 4, 20),
        rectangle("license plate", 2, 2, 3, 3),
        rectangle("car", 20, 12, 28, 18),
    ]
    expected = np.zeros((20, 30), int)
    expected[2:8, 2:12] = 26000
    expected[4:10, 6:16] = 24
    expected[:, 3] = 0
    expected[12:18, 20:28] = 26001
    drawn = draw_polygons({"imgHeight": 20, "imgWidth": 30, "objects": objects})
    np.testing.assert_array_equal(drawn, expected)


def test_polygon_files_are_read_where_there_is_no_picture_of_numbers(write, numbers, tmp_path):
    write(numbers)
    path = next(tmp_path.rglob("*_instanceIds.png"))
    path.unlink()
    document = {"imgHeight": 20, "imgWidth": 30, "objects": [rectangle("bus", 1, 2, 5, 9)]}
    polygons = path.with_name(path.name.replace("instanceIds.png", "polygons.json"))
    polygons.write_text(json.dumps(document))
    np.testing.assert_array_equal(load_cityscapes(tmp_path)[0].boxes, [[1, 2, 5, 9]])


def test_bad_files_are_skipped_and_reported(write, numbers, tmp_path, problem_kinds):
    write(numbers)
    folder = tmp_path / "gtFine" / "train" / "ulm"
    (folder / "b_gtFine_polygons.json").write_text("{")
    (folder / "c_gtFine_polygons.json").write_text('{"objects": []}')
    (folder / "d_gtFine_instanceIds.png").write_bytes(b"no picture")
    empty = '{"imgHeight": 5, "imgWidth": 5, "objects": []}'
    (folder / "e_gtFine_polygons.json").write_text(empty)
    dataset = load_cityscapes(tmp_path)
    assert len(dataset) == 1
    expected = ["broken-record", "missing-image", "unreadable-mask", "unreadable-mask"]
    assert problem_kinds(dataset) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"imgHeight": 10**9},
        {"imgWidth": 10**400},
        {"imgWidth": "wide"},
        {"objects": [{"label": "car", "polygon": [[0, 0], [1e12, 0], [5, 5]]}]},
        {"objects": [{"label": "car", "polygon": [[0, 0], [10**400, 0], [5, 5]]}]},
    ],
)
def test_numbers_beyond_measure_are_reported(write, numbers, tmp_path, problem_kinds, changes):
    write(numbers)
    document = {"imgHeight": 20, "imgWidth": 30, "objects": []} | changes
    file = tmp_path / "gtFine" / "train" / "ulm" / "b_gtFine_polygons.json"
    file.write_text(json.dumps(document))
    dataset = load_cityscapes(tmp_path)
    assert len(dataset) == 1 and problem_kinds(dataset) == ["unreadable-mask"]


def test_a_folder_without_annotations_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no files .*instanceIds"):
        load_cityscapes(tmp_path)
    with pytest.raises(ValueError, match="There is no folder .*val"):
        load_cityscapes(tmp_path, split="val")


@pytest.mark.realdata
def test_counts_of_the_dummy(data_dir):
    dataset = load_cityscapes(data_dir / "cityscapes_dummy")
    instances = dataset.records[0].instances
    assert len(dataset) == 1 and len(instances) == 6
    assert sum(one.is_crowd for one in instances) == 1
    assert {dataset.class_names[one.class_index] for one in instances} == {"car"}
    assert dataset[0].image.shape == (800, 800, 3)
