"""A table's results beside the paper's numbers, as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kmrcnn.reproduce.runs import RunResult
from kmrcnn.reproduce.tables import Row, Table

_UNDEFINED = "-"


def format_results(table: Table, results: Sequence[RunResult], mini: bool = False) -> str:
    """The table: per row and metric mean and spread over the seeds, the paper's number in brackets.

    Below it stands by how much each row differs from the first, seed by seed. The spread is the
    standard deviation over the seeds (of a sample: n - 1).

    Args:
        table: What was run.
        results: Of `reproduce`.
        mini: Whether it was the scaled-down version.
    """
    by_row: dict[str, dict[int, RunResult]] = {}
    for result in results:
        by_row.setdefault(result.row, {})[result.seed] = result
    lines = [table.title, f"paper's numbers in brackets: {table.source}"]
    if mini:
        lines.append("scaled down: only the order of the rows can be compared with the paper's")
    elif table.note:
        lines.append(table.note)
    header = ["", *table.metrics, "runs", "minutes", "CPU minutes"]
    rows = [_row_cells(row, by_row.get(row.name, {}), table.metrics) for row in table.rows]
    lines += ["", *_align([header, *rows])]
    differences = _differences(table, by_row)
    if differences:
        lines += ["", *_align([["difference", *table.metrics], *differences])]
    return "\n".join(lines)


def _row_cells(row: Row, runs: dict[int, RunResult], metrics: Sequence[str]) -> list[str]:
    cells = []
    for metric, paper in zip(metrics, row.paper):
        values = [run.metrics.get(metric, math.nan) for run in runs.values()]
        cells.append(f"{_mean_and_spread(values)} {_paper(paper)}")
    minutes = sum(run.seconds for run in runs.values()) / 60
    cpu = sum(run.cpu_seconds for run in runs.values()) / 60
    numbers = [str(len(runs)), f"{minutes:.1f}", f"{cpu:.1f}"] if runs else ["not run", "", ""]
    if not runs and row.note:
        numbers[0] = f"not run: {row.note}"
    return [row.name, *cells, *numbers]


def _differences(table: Table, by_row: dict[str, dict[int, RunResult]]) -> list[list[str]]:
    """Each row less the first that was run, over the seeds that both have."""
    run = [row for row in table.rows if row.name in by_row]
    rows = []
    for row in run[1:]:
        first, other = by_row[run[0].name], by_row[row.name]
        seeds = sorted(first.keys() & other.keys())
        cells = []
        for index, metric in enumerate(table.metrics):
            pairs = [
                other[seed].metrics.get(metric, math.nan)
                - first[seed].metrics.get(metric, math.nan)
                for seed in seeds
            ]
            paper = _minus(row.paper[index], run[0].paper[index])
            cells.append(f"{_mean_and_spread(pairs, sign='+')} {_paper(paper, sign='+')}")
        rows.append([f"{row.name} less {run[0].name}", *cells])
    return rows


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _mean_and_spread(fractions: Sequence[float], sign: str = "") -> str:
    """In percent; "-" where nothing is defined."""
    values = [100 * value for value in fractions if not math.isnan(value)]
    if not values:
        return _UNDEFINED
    mean = format(statistics.fmean(values), f"{sign}.1f")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def _paper(number: float | None, sign: str = "") -> str:
    return f"({_UNDEFINED})" if number is None else f"({number:{sign}.1f})"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width; the last of a row may be longer."""
    widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
