"""The rows of a table, one after the other, each with several seeds: `reproduce`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
from tqdm import tqdm

from kmrcnn.config.loader import load_experiment
from kmrcnn.config.train_schema import Experiment
from kmrcnn.reproduce.datasets import Datasets, open_datasets
from kmrcnn.reproduce.runs import PlannedRun, RunResult, execute, read_result
from kmrcnn.reproduce.tables import Row, Table
from kmrcnn.train.experiments import for_classes


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
        ValueError: The table has no such rows or no scaled-down version, the data or the weights
            to begin with are missing, or `output` holds figures of other settings.
    """
    if seeds < 1:
        raise ValueError(f"`seeds` must be at least 1. Received: {seeds}")
    if mini and table.mini is None:
        raise ValueError(f"{table.name} has no scaled-down version.")
    datasets = functools.cache(functools.partial(open_datasets, table, data, mini))
    runs = []
    for seed in range(seeds):  # all rows of a seed before the next: a table can be read early
        for row in _choose_rows(table, mini, rows):
            settings = _experiment(table, row, mini, seed, overrides, datasets(seed))
            folder = Path(output) / (f"{table.name}-mini" if mini else table.name)
            runs.append(PlannedRun(table, row, settings, seed, folder, datasets(seed).origin))
    results = _execute_all(runs, datasets, progress)
    order = {row.name: index for index, row in enumerate(table.rows)}
    return sorted(results, key=lambda result: (order[result.row], result.seed))


def _execute_all(
    runs: Sequence[PlannedRun], datasets: Callable[[int], Datasets], progress: bool
) -> list[RunResult]:
    """The results of all runs; those that are finished are read."""
    results = [read_result(run) for run in runs]
    waiting = [index for index, result in enumerate(results) if result is None]
    for index in waiting:
        _require_start(runs[index])
    steps = sum(_count_steps(runs[index], datasets(runs[index].seed)) for index in waiting)
    with _Progress(steps, len(waiting), progress) as bar:
        for index in waiting:
            run, given = runs[index], datasets(runs[index].seed)
            keras.utils.clear_session()
            calls = [bar.begin(run)]
            results[index] = execute(run, given.train, given.validation, calls, bar.measuring)
    return results


def _choose_rows(table: Table, mini: bool, names: Iterable[str] | None) -> list[Row]:
    """The rows that can be run, of those asked for."""
    able = [
        row
        for row in table.rows
        if (row.name in table.mini.rows if mini else row.config is not None)
    ]
    if names is None:
        return able
    names = list(names)
    unknown = [name for name in names if name not in [row.name for row in able]]
    if unknown or not names:
        raise ValueError(
            f"`rows` must be of {[row.name for row in able]}, which can be run. Received: {names}"
        )
    return [row for row in able if row.name in names]


def _experiment(
    table: Table, row: Row, mini: bool, seed: int, overrides: Sequence[str], datasets: Datasets
) -> Experiment:
    """The settings of a row, for a seed and the classes of the data."""
    if mini:
        loaded = load_experiment(
            table.mini.config, [*table.mini.settings, *table.mini.rows[row.name], *overrides]
        )
    else:
        loaded = load_experiment(row.config, overrides)
    fitted = for_classes(loaded, datasets.class_names, datasets.category_ids)
    settings = dataclasses.replace(fitted.train, seed=seed, evaluate_every=0, tensorboard=False)
    return dataclasses.replace(fitted, train=settings)


def _require_start(run: PlannedRun) -> None:
    """ValueError if stages are frozen that have learned nothing."""
    experiment = run.experiment
    if experiment.weights is None and experiment.model.backbone.freeze_at > 0:
        raise ValueError(
            f"Row {run.row.name!r} begins with a backbone trained on ImageNet. Give a file of "
            f"torchvision's for {experiment.model.backbone.name} as setting `weights`, such as "
            "weights=resnet50-0676ba61.pth; rows with other backbones can be run one by one."
        )


def _count_steps(run: PlannedRun, datasets: Datasets) -> int:
    config = run.experiment.train
    per_epoch = config.steps_per_epoch or -(-len(datasets.train) // config.batch_size)
    return config.epochs * per_epoch


class _Progress:
    """A bar over the training steps of all runs.

    Args:
        steps: Of all runs.
        runs: How many there are.
        show: Whether there is a bar.
    """

    def __init__(self, steps: int, runs: int, show: bool):
        self._bar = tqdm(total=steps, unit="step", disable=not show, file=sys.stderr)
        self._runs = runs
        self._begun = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    def begin(self, run: PlannedRun) -> keras.callbacks.Callback:
        """Names the next run; the callback counts its steps."""
        self._begun += 1
        self._title = f"run {self._begun} of {self._runs}: {run.row.name}, seed {run.seed}"
        self._bar.set_description(self._title)
        return keras.callbacks.LambdaCallback(on_train_batch_end=self._count)

    def _count(self, batch: int, logs: dict[str, float]) -> None:
        self._bar.update()

    def measuring(self) -> None:
        """Says that the run is being measured."""
        self._bar.set_description(f"{self._title}, measuring")
