import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.datasets.labelme import load_labelme

SQUARE = [[2, 3], [12, 3], [12, 9], [2, 9]]


def shape(label="cat", points=SQUARE, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


@pytest.fixture
def write(tmp_path, save_picture):
    """Writes a file for a picture of 20 x 30, and gives the folder."""

    def write(*shapes, stem="a", **changes):
        save_picture(tmp_path / f"{stem}.png")
        document = {
            "shapes": list(shapes),
            "imagePath": f"{stem}.png",
            "imageData": None,
            "imageHeight": 20,
            "imageWidth": 30,
        }
        (tmp_path / f"{stem}.json").write_text(json.dumps(document | changes))
        return tmp_path

    return write


def test_polygons(write):
    example = load_labelme(write(shape()))[0]
    np.testing.assert_array_equal(example.boxes, [[2, 3, 12, 9]])
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:12] = True
    np.testing.assert_array_equal(example.full_masks(), [expected])


def test_a_group_is_one_object(write):
    parts = [shape(group_id=4), shape(points=(np.array(SQUARE) + [15, 5]).tolist(), group_id=4)]
    dataset = load_labelme(write(*parts, shape(group_id=5), shape("dog", group_id=4), shape()))
    example = dataset[0]
    assert example.boxes[:, 2].tolist() == [27, 12, 12, 12]
    assert example.full_masks().sum(axis=(1, 2)).tolist() == [120, 60, 60, 60]
    assert [dataset.class_names[c] for c in example.classes] == ["cat", "cat", "dog", "cat"]


def test_circles_and_masks(write):
    bitmap = np.zeros((4, 6), np.uint8)
    bitmap[1:3, 2:5] = 1
    file = io.BytesIO()
    Image.fromarray(bitmap).save(file, "PNG")
    mask = {"mask": base64.b64encode(file.getvalue()).decode()}
    circle = shape(points=[[15, 10], [15, 14]], kind="circle")
    example = load_labelme(write(circle, shape(points=[[8, 9], [13, 12]], kind="mask", **mask)))[0]
    expected = [[11, 6, 19, 14], [10, 10, 13, 12]]
    np.testing.assert_allclose(example.boxes, expected, atol=1e-5)
    assert example.full_masks()[1].sum() == 6


def test_rectangles_are_boxes_or_among_polygons_masks(write):
    rectangle = shape(points=[[25, 14], [20, 10]], kind="rectangle")  # any two opposite corners
    dataset = load_labelme(write(rectangle))
    assert not dataset.has_masks
    np.testing.assert_array_equal(dataset[0].boxes, [[20, 10, 25, 14]])
    assert load_labelme(write(rectangle, shape()))[0].full_masks()[0].sum() == 20


def test_crowds_are_flagged(write):
    example = load_labelme(write(shape(flags={"iscrowd": True}), shape(flags=None)))[0]
    assert example.is_crowd.tolist() == [True, False]


def test_classes_come_from_labels_txt_where_there_is_one(write, problem_kinds):
    folder = write(shape("dog"), shape("cat"), shape("bird"))
    assert load_labelme(folder).class_names == ("bird", "cat", "dog")
    (folder / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\nhorse\n")
    dataset = load_labelme(folder)
    assert dataset.class_names == ("dog", "cat", "horse")
    assert problem_kinds(dataset) == ["unknown-category"]


def test_pictures_within_the_file(write):
    folder = write(shape())
    data = (folder / "a.png").read_bytes()
    expected = load_labelme(folder)[0].image
    write(shape(), imageData=base64.b64encode(data).decode(), imagePath=r"C:\gone\a.png")
    (folder / "a.png").unlink()
    dataset = load_labelme(folder)
    assert dataset.records[0].path is None
    np.testing.assert_array_equal(dataset[0].image, expected)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (shape(kind="point", points=[[1, 1]]), "unsupported-shape"),
        (shape(kind="line", points=[[1, 1], [2, 2]]), "unsupported-shape"),
        (shape(points=[[1, 1], [2, 2]]), "polygon-too-short"),
        (shape(points=[[1, 1], [2]]), "bad-polygon"),
        (shape(points=None), "bad-polygon"),
        (shape(kind="circle", points=[[1, 1]]), "bad-polygon"),
        (shape(kind="mask", mask="no PNG"), "bad-polygon"),
        (shape(points=[[1, 1], [10**400, 2], [5, 5]]), "bad-polygon"),
        (shape(points=[[1, 1], [1e12, 2], [5, 5]]), "bad-polygon"),
        (shape(kind="circle", points=[[1, 1], [1e12, 1]]), "bad-polygon"),
        (shape(kind="rectangle", points=[[1, 1], [1e300, 5]]), "bad-box"),
        (shape(kind="rectangle", points=[[1, 1], [1, 5]]), "zero-area-box"),
        (shape(points=[[90, 1], [95, 1], [95, 5]]), "box-outside-image"),
        ("no shape", "bad-polygon"),
    ],
)
def test_bad_shapes_are_skipped_and_reported(write, problem_kinds, bad, kind):
    dataset = load_labelme(write(shape(), bad), class_names=["cat", ""])
    assert [one.annotation_id for one in dataset.records[0].instances] == [0]
    assert problem_kinds(dataset) == [kind]


def test_bad_files_are_skipped_and_reported(write, problem_kinds):
    folder = write(shape())
    write(shape(), stem="b")
    (folder / "b.png").unlink()
    (folder / "c.json").write_text("{")
    (folder / "d.json").write_text('{"shapes": 5}')
    dataset = load_labelme(folder)
    assert [record.image_id for record in dataset.records] == ["a"]
    assert problem_kinds(dataset) == ["broken-record", "broken-record", "missing-image"]


def test_a_folder_without_files_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=f"no LabelMe file in .*{tmp_path.name}"):
        load_labelme(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not a JSON file"):
        load_labelme(tmp_path / "a.json")
