"""Runs of a table's rows: figures kept, not run again, gone on with."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from kmrcnn.config.loader import dump
from kmrcnn.reproduce import reproduce as module
from kmrcnn.reproduce.datasets import open_datasets
from kmrcnn.reproduce.reproduce import reproduce
from kmrcnn.reproduce.runs import RunResult
from kmrcnn.reproduce.tables import Mini, Part, Parts, Row, Scenes, Table
from tests.tiny import CLASS_NAMES
from tests.train.scenes import experiment

SCENES = Scenes(4, 2, 96, CLASS_NAMES, (0.15, 0.25), 3)
SHORT = ("train.epochs=1", "train.steps_per_epoch=2", "train.batch_size=2")


@pytest.fixture
def table(tmp_path):
    (tmp_path / "tiny.yaml").write_text(dump(experiment()))
    rows = (
        Row("plain", None, (30.0,)),
        Row("plain + views", None, (31.0,), trained_as="plain"),
    )
    parts = Parts(Part("train.json"), Part("val.json"))
    mini = Mini(str(tmp_path / "tiny.yaml"), {row.name: () for row in rows}, SCENES, parts, SHORT)
    return Table("table0", "tiny", "nobody", ("box_ap",), parts, rows, mini=mini)


@pytest.fixture
def fake(monkeypatch):
    """Runs give figures at once; `begun` lists them."""
    begun = []

    def execute(run, train_data, validation_data, callbacks, before_measuring):
        begun.append((run.row.name, run.seed))
        if len(begun) == 2:
            raise KeyboardInterrupt
        metrics = {"box_ap": 0.1 * run.seed}
        result = RunResult(run.row.name, run.seed, metrics, 1.0, 1.0, run.fingerprint)
        run.result_file.parent.mkdir(parents=True, exist_ok=True)
        run.result_file.write_text(json.dumps(dataclasses.asdict(result)))
        return result

    monkeypatch.setattr(module, "execute", execute)
    return begun


def run(table, folder, **options):
    return reproduce(table, output=folder, mini=True, progress=False, **options)


def test_rows_are_trained_measured_and_not_run_again(table, tmp_path, monkeypatch):
    (result,) = run(table, tmp_path / "out", rows=["plain"])
    assert result.row == "plain" and set(result.metrics) == {"box_ap"}
    assert 0 < result.cpu_seconds and 0 < result.seconds
    folder = tmp_path / "out" / "table0-mini"
    assert {file.name for file in folder.iterdir()} == {"plain-seed0", "plain-seed0.json"}
    (row,) = json.loads((folder / "plain-seed0" / "history.json").read_text())
    assert row["loss_mask"] > 0

    def refuse(*arguments):
        raise AssertionError("this row was finished")

    monkeypatch.setattr(module, "execute", refuse)
    assert run(table, tmp_path / "out", rows=["plain"]) == [result]


@pytest.mark.slow
def test_a_row_is_measured_in_several_sizes(table, tmp_path):
    views = dataclasses.replace(table.rows[1], short_sides=(64, 96))
    table = dataclasses.replace(table, rows=(table.rows[0], views))
    shown = ["model.box.score_threshold=0.0"]
    one, many = run(table, tmp_path, overrides=shown)
    assert one.fingerprint != many.fingerprint
    names = {file.name for file in (tmp_path / "table0-mini").iterdir()}
    files = {"plain-seed0.json", "plain_plus_views-seed0.json"}
    assert names == {"plain-seed0", *files}  # one model, two measurements


def test_an_interrupted_table_goes_on_where_it_was(table, tmp_path, fake):
    with pytest.raises(KeyboardInterrupt):
        run(table, tmp_path, seeds=2)
    results = run(table, tmp_path, seeds=2)
    first, *rest = [("plain", 0), ("plain + views", 0), ("plain", 1), ("plain + views", 1)]
    assert fake == [first, rest[0], *rest]
    assert [(one.row, one.seed) for one in results] == [
        ("plain", 0),
        ("plain", 1),
        ("plain + views", 0),
        ("plain + views", 1),
    ]


def test_figures_of_other_settings_are_not_taken(table, tmp_path, fake):
    run(table, tmp_path, rows=["plain"])
    with pytest.raises(ValueError, match="made with other settings"):
        run(table, tmp_path, rows=["plain"], overrides=["train.batch_size=4"])
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        run(table, tmp_path, rows=["plain"])


@pytest.mark.parametrize(
    "options,message",
    [
        ({"rows": ["plane"]}, "`rows` must be of"),
        ({"rows": []}, "`rows` must be of"),
        ({"seeds": 0}, "`seeds` must be at least 1"),
        ({"data": "nowhere"}, "`data` must be a folder"),
        ({"data": "."}, "`data` has no 'train.json'"),
        ({"overrides": ["train.epoch=1"]}, "train.epochs"),
    ],
)
def test_mistakes_are_named(table, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(table, tmp_path / "out", **options)


def test_the_full_table_needs_data_and_mini_its_section(table, tmp_path):
    full = dataclasses.replace(table.rows[0], config="paper_R_50_C4")
    with pytest.raises(ValueError, match="needs `data`"):
        reproduce(dataclasses.replace(table, rows=(full,), mini=None), output=tmp_path)
    with pytest.raises(ValueError, match="no scaled-down version"):
        run(dataclasses.replace(table, mini=None), tmp_path)


def test_frozen_stages_must_have_learned_something(table, tmp_path):
    with pytest.raises(ValueError, match="begins with a backbone trained on ImageNet"):
        run(table, tmp_path, overrides=["model.backbone.freeze_at=2"])
    assert not any(tmp_path.rglob("*seed*"))


def test_seeds_differ_in_their_pictures_and_share_the_validation(table):
    one, other = (open_datasets(table, None, True, seed) for seed in (0, 1))
    assert (one.train[0].image != other.train[0].image).any()
    assert one.train[0] is one.train[0]  # made once
    assert (one.validation[0].image == other.validation[0].image).all()


def write_coco(file, number):
    """Pictures with one door each."""
    images, annotations = [], []
    for index in range(1, number + 1):
        name = f"{file.stem}{index}.png"
        cv2.imwrite(str(file.with_name(name)), np.zeros((40, 50, 3), np.uint8))
        images.append({"id": index, "file_name": name, "height": 40, "width": 50})
        box = {"bbox": [5, 5, 20, 20], "area": 400, "category_id": 7, "iscrowd": 0}
        outline = [[5, 5, 25, 5, 25, 25, 5, 25]]
        annotations.append({"id": index, "image_id": index, "segmentation": outline} | box)
    categories = [{"id": 7, "name": "door"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(document))


def test_a_folder_takes_the_place_of_the_scenes(table, tmp_path, monkeypatch):
    write_coco(tmp_path / "train.json", 3)
    write_coco(tmp_path / "val.json", 2)

    def execute(run, train_data, validation_data, callbacks, before_measuring):
        assert (len(train_data), len(validation_data)) == (3, 2)
        model = run.experiment.model
        assert (model.class_names, model.category_ids) == (("door",), (7,))
        return RunResult(run.row.name, run.seed, {}, 1.0, 1.0, run.fingerprint)

    monkeypatch.setattr(module, "execute", execute)
    assert len(run(table, tmp_path / "out", data=tmp_path, seeds=2)) == 4
