"""Numbers beyond all measure are reported, mended or left out, and cost neither time nor memory."""

import json
import math
import resource

import pytest
from PIL import Image

from kmrcnn.config.loader import load_preset
from kmrcnn.data.check.doctor import examine
from kmrcnn.data.check.repair import repair
from kmrcnn.data.check.report import report

HUGE = 10**400  # beyond every float
MODEL = load_preset("mask_rcnn_R_50_FPN_3x").model
MEMORY = 200  # MiB


def write(folder, image=None, **changes):
    """A picture of 20 x 30 with an object whose fields are changed."""
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "bbox": [2, 3, 10, 6],
        "area": 60.0,
        "segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]],
    }
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30} | (image or {})],
        "annotations": [annotation | changes],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path = folder / "absurd.json"
    path.write_text(json.dumps(document))
    return path


def faults_and_memory(path):
    """Kinds of the faults, those of the cleaned copy, and MiB by which the process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = examine(path, model=MODEL)
    assert all(kind in report(found) for kind in found.by_kind())
    repair(found).write(path.with_name("fixed.json"))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fixed = examine(path.with_name("fixed.json"))
    kinds = sorted(problem.kind for problem in found.faults)
    return kinds, fixed.faults, (after - before) / 1024


ZIGZAG = [v for _ in range(2000) for v in (1e6, 0, -1e6, 1)]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        *(({"area": area}, "bad-area") for area in (HUGE, -5, math.nan, math.inf, "60", [1])),
        *(({"bbox": [2, 3, side, 6]}, "bad-box") for side in (HUGE, 1e308, math.nan, "10")),
        ({"bbox": [-1e300, 0, 2e300, 5]}, "bad-box"),
        *(({"segmentation": [[v, 0, v, v, 0, v]]}, "bad-polygon") for v in (1e12, 1e308, HUGE)),
        ({"segmentation": [ZIGZAG]}, "bad-polygon"),
        ({"segmentation": {"size": [10**9, 10**9], "counts": [0, 10**18]}}, "bad-rle"),
        ({"segmentation": {"size": [HUGE, 30], "counts": [5]}}, "bad-rle"),
        *(({"image": {"height": v}}, "bad-image-size") for v in (HUGE, math.nan, "20", 20.5)),
    ],
)
def test_absurd_numbers(tmp_path, changes, kind):
    kinds, left, grown = faults_and_memory(write(tmp_path, **changes))
    assert kinds == [kind] and left == []
    assert grown < MEMORY


def test_the_mended_area_is_measured(tmp_path):
    found = examine(write(tmp_path, area=HUGE))
    (entry,) = repair(found).document["annotations"]
    assert entry["area"] == 60.0


@pytest.mark.parametrize("name", ["x" * 5000, "a\0.png"])
def test_names_that_no_file_can_have(tmp_path, name):
    found = examine(write(tmp_path, {"file_name": name}))
    assert [problem.kind for problem in found.faults] == ["unreadable-image"]
    assert repair(found).document["images"] == []


def test_absolute_names_of_files(tmp_path):
    found = examine(write(tmp_path, {"file_name": str(tmp_path / "a.png")}))
    assert found.faults == []
    assert found.probes[0].size == (20, 30)


def test_a_huge_size_is_a_mismatch(tmp_path):
    kinds, _, grown = faults_and_memory(write(tmp_path, {"height": 10**9}))
    assert "size-mismatch" in kinds and grown < MEMORY


@pytest.mark.parametrize("identifier", [[1], {}, math.nan, 1.5])
def test_identifiers_that_are_none(tmp_path, identifier):
    found = examine(write(tmp_path, {"id": identifier}))
    assert {"broken-record", "unknown-image"} <= {problem.kind for problem in found.faults}
