"""A row of a table, once: train, measure, keep the figures in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmrcnn.augmented_inference import InferenceAugmentation
from kmrcnn.config.loader import dump
from kmrcnn.config.train_schema import Experiment
from kmrcnn.data.example import Example
from kmrcnn.data.files import written_aside
from kmrcnn.eval.evaluate import EvaluationResult, evaluate
from kmrcnn.eval.other_rules import OTHER_RULES
from kmrcnn.predictor import Predictor
from kmrcnn.reproduce.tables import Row, Table
from kmrcnn.train.trainer import train


@dataclass(frozen=True)
class PlannedRun:
    """A row and a seed.

    Attributes:
        table: The row's.
        row: What is trained and measured.
        experiment: Its settings, those of the seed and of the data's classes included.
        seed: Of initial weights, data, order and sampling.
        folder: Of all runs.
        data: Which data they are.
    """

    table: Table
    row: Row
    experiment: Experiment
    seed: int
    folder: Path
    data: str

    @property
    def result_file(self) -> Path:
        """Where the figures are kept."""
        return self.folder / f"{_file_name(self.row.name)}-seed{self.seed}.json"

    @property
    def training_folder(self) -> Path:
        """Where the model is; rows that share one are trained once."""
        trained = self.row.trained_as or self.row.name
        return self.folder / f"{_file_name(trained)}-seed{self.seed}"

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the figures, but for the file of weights that training began with:
        rows with other backbones need others, and are then run one by one.
        """
        experiment = dataclasses.replace(self.experiment, weights=None)
        settings = dump(experiment) + repr((self.row.short_sides, self.data))
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        row: The row's name.
        seed: Of the run.
        metrics: By name, fractions; NaN where undefined.
        seconds: Of training and measuring, together.
        cpu_seconds: The same, summed over the cores.
        fingerprint: Of the run's settings.
    """

    row: str
    seed: int
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    fingerprint: str


def read_result(run: PlannedRun) -> RunResult | None:
    """The figures of a finished run; None if it is still to be done.

    Raises:
        ValueError: The file is of other settings, or damaged.
    """
    if not run.result_file.exists():
        return None
    try:
        result = RunResult(**json.loads(run.result_file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{str(run.result_file)!r} is damaged ({error}); remove it to run this row again."
        ) from error
    if result.fingerprint != run.fingerprint:
        raise ValueError(
            f"{str(run.result_file)!r} was made with other settings. Give another output folder, "
            "or remove the file to run this row again."
        )
    return result


def execute(
    run: PlannedRun,
    train_data: Sequence[Example],
    validation_data: Sequence[Example],
    callbacks: Sequence[Any] = (),
    before_measuring: Callable[[], None] = lambda: None,
) -> RunResult:
    """Trains, or goes on training, measures, and writes the figures.

    Args:
        run: What to do.
        train_data: To learn from.
        validation_data: To measure on.
        callbacks: Of Keras.
        before_measuring: Called when the training is over.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    trained = train(
        run.experiment,
        train_data,
        output=run.training_folder,
        resume=True,
        callbacks=callbacks,
        verbose=0,
    )
    before_measuring()
    metrics = _measure(run, trained.model, validation_data)
    result = RunResult(
        row=run.row.name,
        seed=run.seed,
        metrics={name: metrics[name] for name in run.table.metrics if name in metrics},
        seconds=round(time.perf_counter() - start, 1),
        cpu_seconds=round(time.process_time() - cpu_start, 1),
        fingerprint=run.fingerprint,
    )
    with written_aside(run.result_file) as aside:
        aside.write_text(json.dumps(dataclasses.asdict(result), indent=1), encoding="utf-8")
    return result


def _measure(run: PlannedRun, model: Any, dataset: Sequence[Example]) -> dict[str, float]:
    options = {}
    if run.row.short_sides is not None:
        options["augmentation"] = InferenceAugmentation(short_sides=run.row.short_sides)
    predictor = Predictor(model, score_threshold=0.0, **options)
    result: EvaluationResult = evaluate(predictor, dataset, progress=False)
    if run.table.rules == "coco":
        metrics = result.metrics
    else:
        metrics = OTHER_RULES[run.table.rules](result.evaluator, dataset)
    return {name: float(value) for name, value in metrics.items()}


def _file_name(row: str) -> str:
    """Of a row's name: "MLP+" gives "mlp_plus"."""
    words = "".join(c if c.isalnum() else " " for c in row.replace("+", " plus "))
    return "_".join(words.lower().split())
