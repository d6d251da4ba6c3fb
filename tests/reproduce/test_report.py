"""Results beside the paper's numbers."""

import math

from kmrcnn.reproduce.report import format_results
from kmrcnn.reproduce.runs import RunResult
from kmrcnn.reproduce.tables import Part, Parts, Row, Table

TABLE = Table(
    "t",
    "Two rows",
    "a paper",
    ("mask_ap", "box_ap"),
    Parts(Part("a"), Part("b")),
    (
        Row("one", "x", (24.8, None)),
        Row("two", "y", (30.3, 40.0)),
        Row("three", None, (31.0, 41.0), note="other data"),
    ),
    note="A note.",
)


def result(row, seed, mask_ap, box_ap=0.5):
    metrics = {"mask_ap": mask_ap, "box_ap": box_ap}
    return RunResult(row, seed, metrics, seconds=90.0, cpu_seconds=120.0, fingerprint="")


def test_mean_and_spread_stand_beside_the_papers_numbers():
    results = [
        result("one", 0, 0.10),
        result("one", 1, 0.20),
        result("two", 0, 0.30),
        result("two", 1, 0.50, math.nan),
    ]
    lines = format_results(TABLE, results).splitlines()
    words = {" ".join(line.split()) for line in lines}
    assert "one 15.0 ± 7.1 (24.8) 50.0 ± 0.0 (-) 2 3.0 4.0" in words
    assert "two 40.0 ± 14.1 (30.3) 50.0 (40.0) 2 3.0 4.0" in words
    assert "three - (31.0) - (41.0) not run: other data" in words
    assert "two less one +25.0 ± 7.1 (+5.5) +0.0 (-)" in words  # +20 and +30
    assert lines[0] == "Two rows" and "a paper" in lines[1] and lines[2] == "A note."


def test_one_run_has_no_spread_and_mini_says_that_only_the_order_counts():
    text = format_results(TABLE, [result("two", 0, 0.3)], mini=True)
    assert "±" not in text and "only the order" in text and "A note." not in text
    assert "difference" not in text
    assert "not run" in [line for line in text.splitlines() if line.startswith("one")][0]
