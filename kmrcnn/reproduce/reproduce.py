"""The rows of a table, one after the other, each with several seeds: `reproduce`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras

from kmrcnn.config.loader import load_experiment
from kmrcnn.config.train_schema import Experiment
from kmrcnn.data.datasets import open_dataset
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.data.example import Example
from kmrcnn.reproduce.runs import PlannedRun, RunResult, execute, read_result
from kmrcnn.reproduce.tables import Part, Parts, Row, Scenes, Table
from kmrcnn.train.experiments import for_classes

_VALIDATION_SEED = 10**6  # of generated scenes; training scenes have the run's


class Datasets(NamedTuple):
    """What the rows of one seed learn from, and what all are measured on."""

    train: Sequence[Example]
    validation: Any
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None


def reproduce(
    table: Table,
    data: str | Path | None = None,
    output: str | Path = "reproduce",
    *,
    mini: bool = False,
    seeds: int = 1,
    rows: Iterable[str] | None = None,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> list[RunResult]:
    """Trains and measures the rows of a table.

    Rows of the same seed see the same pictures in the same order and begin with the same weights,
    so that their differences can be looked at seed by seed.

    Args:
        table: Of `load_table`.
        data: Folder of the data set; None: generated scenes, in the scaled-down version only.
        output: Gets a folder with the models, and the figures of each finished run as JSON.
            Finished runs are not done again, interrupted ones are gone on with.
        mini: The scaled-down version.
        seeds: Runs of each row.
        rows: Names of the rows to run; None: all.
        overrides: Further settings of all rows, as of `load_experiment`.
        progress: Show a bar.

    Returns:
        The results, in the order of rows, then seeds.

    Raises:
        ValueError: The table has no such rows or no scaled-down version, the data are missing, or
            `output` holds figures of other settings.
    """
    if seeds < 1:
        raise ValueError(f"`seeds` must be at least 1. Received: {seeds}")
    if mini and table.mini is None:
        raise ValueError(f"{table.name} has no scaled-down version.")
    chosen = _choose_rows(table, mini, rows)
    datasets = functools.cache(functools.partial(_open, table, data, mini))
    folder = Path(output) / (f"{table.name}-mini" if mini else table.name)
    runs = [
        PlannedRun(table, row, _experiment(table, row, mini, seed, overrides, datasets), seed, folder)
        for seed in range(seeds)
        for row in chosen
    ]
    done = {run: read_result(run) for run in runs}
    waiting = [run for run in runs if done[run] is None]
    with _Bar(waiting, {run: datasets(run.seed).train for run in waiting}, progress) as bar:
        for run in waiting:
            given = datasets(run.seed)
            with _fresh_session():
                done[run] = execute(
                    run, given.train, given.validation, [bar.begin(run)], bar.show_measuring
                )
    order = {row.name: index for index, row in enumerate(chosen)}
    return sorted(done.values(), key=lambda result: (order[result.row], result.seed))
