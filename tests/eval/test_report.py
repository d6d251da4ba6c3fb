import pytest

from kmrcnn.eval.coco_evaluator import ClassScores
from kmrcnn.eval.report import align, class_table, metrics_table, per_cent


@pytest.mark.parametrize("value, text", [(0.4567, "45.7"), (1.0, "100.0"), (float("nan"), "-")])
def test_values_are_per_cent(value, text):
    assert per_cent(value) == text


def test_metrics_have_a_line_per_kind():
    lines = metrics_table({"box_ap": 0.5, "box_ap_small": 0.25, "mask_ap": float("nan")}).split(
        "\n"
    )
    assert [line.split() for line in lines] == [
        ["AP", "AP", "small"],
        ["box", "50.0", "25.0"],
        ["mask", "-"],
    ]


def test_classes_that_do_not_occur_are_counted():
    table = class_table(
        [ClassScores("cat", 1, 3, {"box_ap": 0.5}), ClassScores("dog", 2, 0, {"box_ap": 0.0})]
    )
    assert "cat" in table and "50.0" in table and "dog" not in table
    assert table.endswith("1 classes do not occur")
    assert class_table([]) == "class  objects"


def test_columns_are_aligned():
    assert align([["a", "1"], ["long", "22"]]) == "a      1\nlong  22"
