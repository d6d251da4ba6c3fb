import json

import numpy as np
import pytest

from kmrcnn.data.datasets.coco import load_coco
from kmrcnn.data.datasets.via import load_via

POLYGON = {"name": "polygon", "all_points_x": [2, 12, 12, 2], "all_points_y": [3, 3, 9, 9]}
RECTANGLE = {"name": "rect", "x": 20, "y": 10, "width": 5, "height": 4}
CIRCLE = {"name": "circle", "cx": 15, "cy": 10, "r": 5}
ELLIPSE = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 8, "ry": 2}


def region(shape, attributes=None):
    return {"shape_attributes": shape, "region_attributes": attributes or {}}


@pytest.fixture
def load(tmp_path, save_picture):
    """Loads regions of one picture of 20 x 30, as VIA 1 and 2 write them."""

    def load(*regions, version=2, **options):
        save_picture(tmp_path / "a.png")
        listed = dict(enumerate(regions)) if version == 1 else list(regions)
        document = {"a.png123": {"filename": "a.png", "size": 123, "regions": listed}}
        if version == 2:
            document = {"_via_settings": {}, "_via_img_metadata": document}
        (tmp_path / "via.json").write_text(json.dumps(document))
        return load_via(tmp_path / "via.json", **options)

    return load


@pytest.mark.parametrize("version", [1, 2])
def test_polygons(load, version):
    dataset = load(region(POLYGON, {"class": "cat"}), version=version)
    assert dataset.class_names == ("cat",)
    example = dataset[0]
    np.testing.assert_array_equal(example.boxes, [[2, 3, 12, 9]])
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:12] = True
    np.testing.assert_array_equal(example.full_masks(), [expected])
    assert example.image_id == "a.png"


def test_round_shapes(load):
    dataset = load(region(CIRCLE), region(ELLIPSE), region(ELLIPSE | {"theta": np.pi / 2}))
    example = dataset[0]
    expected = [[10, 5, 20, 15], [7, 8, 23, 12], [13, 2, 17, 18]]
    np.testing.assert_allclose(example.boxes, expected, atol=1e-5)
    expected = np.pi * np.array([25, 16, 16])
    np.testing.assert_allclose(example.area, expected, rtol=0.05)


def test_rectangles_alone_are_boxes(load):
    dataset = load(region(RECTANGLE))
    assert not dataset.has_masks and dataset.problems == []
    np.testing.assert_array_equal(dataset[0].boxes, [[20, 10, 25, 14]])


def test_rectangles_among_polygons_are_masks(load):
    example = load(region(POLYGON), region(RECTANGLE))[0]
    assert example.full_masks()[1].sum() == 20


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ([{}, {}], ("object",)),
        ([{"name": "b", "hidden": "no"}, {"name": "a"}], ("a", "b")),
        ([{"kind": "b"}, {"kind": "a"}], ("a", "b")),
        ([{"type": {"b": True}}, {"type": {"a": False, "c": True}}], ("b", "c")),
    ],
)
def test_the_attribute_that_holds_the_class(load, attributes, names):
    dataset = load(*(region(POLYGON, one) for one in attributes))
    assert dataset.class_names == names
    assert len(dataset.records[0].instances) == 2 and dataset.problems == []


def test_one_class_name_names_bare_regions(load):
    dataset = load(region(POLYGON), class_names=["balloon"])
    assert dataset.class_names == ("balloon",) and len(dataset.records[0].instances) == 1


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (region({"name": "point", "cx": 1, "cy": 1}), "unsupported-shape"),
        (region(POLYGON | {"name": "polyline"}), "unsupported-shape"),
        (region({}), "unsupported-shape"),
        (region(None), "unsupported-shape"),
        (region(POLYGON | {"all_points_x": [1, 2]}), "bad-polygon"),
        (region(POLYGON | {"all_points_x": list("abcd")}), "bad-polygon"),
        (region({"name": "circle", "cx": 3}), "bad-polygon"),
        (region(CIRCLE | {"r": 10**400}), "bad-polygon"),
        (region(CIRCLE | {"r": 1e12}), "bad-polygon"),
        (region(POLYGON | {"all_points_x": [10**400] * 4}), "bad-polygon"),
        (region(RECTANGLE | {"width": 1e300}), "bad-box"),
        (region(POLYGON | {"all_points_x": [1, 2], "all_points_y": [1, 2]}), "polygon-too-short"),
        (region(RECTANGLE | {"width": 0}), "zero-area-box"),
        (region(POLYGON, {"class": ""}), "unknown-category"),
        ("no region", "unknown-category"),
    ],
)
def test_bad_regions_are_skipped_and_reported(load, problem_kinds, bad, kind):
    dataset = load(region(POLYGON), bad)
    assert [one.annotation_id for one in dataset.records[0].instances] == [0]
    assert problem_kinds(dataset) == [kind]


def test_missing_pictures_are_reported(load, tmp_path, problem_kinds):
    load(region(POLYGON))
    document = json.loads((tmp_path / "via.json").read_text())
    document["_via_img_metadata"]["b"] = {"filename": "b.png", "regions": []}
    (tmp_path / "via.json").write_text(json.dumps(document))
    dataset = load_via(tmp_path / "via.json")
    assert len(dataset) == 1 and problem_kinds(dataset) == ["missing-image"]


def test_another_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "x.json").write_text('{"a": {"b": 1}}')
    with pytest.raises(ValueError, match=r"x\.json is not a file of VIA"):
        load_via(tmp_path / "x.json")


@pytest.mark.realdata
@pytest.mark.parametrize(("split", "images", "instances"), [("train", 61, 255), ("val", 13, 50)])
def test_balloon_agrees_with_its_coco_file(data_dir, split, images, instances):
    path = data_dir / "balloon" / split / "via_region_data.json"
    dataset = load_via(path, class_names=["balloon"])
    reference = load_coco(data_dir / "balloon" / "annotations" / f"instances_{split}.json")
    assert len(dataset) == images
    assert sum(len(record.instances) for record in dataset.records) == instances
    places = {record.path.name: index for index, record in enumerate(reference.records)}
    for index in range(0, images, 6):
        found, expected = dataset[index], reference[places[dataset.records[index].image_id]]
        # VIA's integers and COCO's numbers differ by less than a pixel
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1)
        different = found.full_masks() ^ expected.full_masks()
        assert different.sum() <= 0.03 * expected.full_masks().sum()
