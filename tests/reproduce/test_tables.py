"""The paper's tables as data."""

import pytest

from kmrcnn.config.loader import list_presets
from kmrcnn.reproduce.tables import Part, Parts, Row, Table, list_tables, load_table
from kmrcnn.train.experiments import source_preset

PAPER = {  # (table, row, metric): He et al. 2017
    ("table2a", "ResNeXt-101-FPN", "mask_ap"): 36.7,
    ("table2b", "softmax", "mask_ap75"): 25.1,
    ("table2b", "sigmoid", "mask_ap75"): 31.5,
    ("table2c", "RoIPool", "mask_ap75"): 26.4,
    ("table2c", "RoIAlign max", "mask_ap75"): 31.8,
    ("table2d", "RoIPool", "box_ap75"): 26.9,
    ("table2e", "MLP+", "mask_ap50"): 54.0,
    ("class_agnostic", "class-agnostic", "mask_ap"): 29.7,
    ("table3", "Mask R-CNN R-101-FPN", "box_ap"): 38.2,
    ("table5", "keypoint", "keypoint_ap"): 64.2,
    ("table5", "box", "mask_ap"): None,
    ("table6", "RoIPool", "keypoint_ap_large"): 67.4,
    ("table7", "fine + COCO", "mask_ap"): 36.4,
    ("table8", "+ test-time augm.", "box_ap"): 47.3,
}
PARTS = Parts(Part("a.json"), Part("b.json"))


@pytest.mark.parametrize("key", PAPER, ids="-".join)
def test_numbers_are_the_papers(key):
    name, row_name, metric = key
    table = load_table(name)
    (row,) = (row for row in table.rows if row.name == row_name)
    assert row.paper[table.metrics.index(metric)] == PAPER[key]


def test_tables_are_no_presets_and_name_presets():
    presets = list_presets()
    assert not set(list_tables()) & set(presets)
    for name in list_tables():
        table = load_table(name)
        assert table.title and "He et al. 2017" in table.source
        for row in table.rows:
            assert row.config in presets or (row.config is None and row.note)


def test_scaled_down_tables_change_one_setting_per_row():
    for name in ("table2b", "table2c"):
        mini = load_table(name).mini
        assert {len(changes) for changes in mini.rows.values()} == {1}
    assert load_table("table2d").mini is None


def test_the_last_row_measures_the_one_before_in_many_sizes():
    row = load_table("table8").rows[-1]
    assert row.trained_as == "+ Non-local" and row.short_sides == tuple(range(400, 1300, 100))


def test_unknown_table_offers_a_near_name():
    with pytest.raises(ValueError, match="Did you mean table2b"):
        load_table("table_2b")


@pytest.mark.parametrize(
    "rows,message",
    [
        ((Row("a", "x", (1.0,)), Row("a", "y", (1.0,))), "different names"),
        ((Row("a", "x", (1.0, 2.0)),), "one number per metric"),
        ((Row("a", "x", (1.0,), trained_as="b"),), "no rows .'b'."),
    ],
)
def test_wrong_tables_are_errors(rows, message):
    with pytest.raises(ValueError, match=message):
        Table("t", "title", "source", ("box_ap",), PARTS, rows)


def test_fine_tuning_finds_its_weights():
    from kmrcnn.config.loader import load_experiment

    preset = source_preset(load_experiment("paper_cityscapes_from_coco"))
    assert preset.checkpoints["coco"].mask_ap == 35.2
