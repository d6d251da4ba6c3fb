"""Precision over recall, confusion matrix and learning curve as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmrcnn.data.files import written_aside
from kmrcnn.eval.coco_engines import MatchTable
from kmrcnn.eval.coco_evaluator import PREFIXES, CocoEvaluator
from kmrcnn.eval.confusion import confusion_matrix
from kmrcnn.eval.pairing import SHAPES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 10  # with a curve of their own
_MOST_NUMBERS = 25  # classes up to which the matrix shows its numbers


def write_plots(evaluator: CocoEvaluator, folder: str | Path) -> list[Path]:
    """Writes ``precision_recall_box.png``, ``confusion_box.png`` and so on for masks and keypoints.

    Args:
        evaluator: With all detections.
        folder: Made if need be.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    folder = Path(folder)
    truth = evaluator.ground_truth
    names = dict(zip(truth.category_ids, truth.class_names))
    paths = []
    for kind in evaluator.kinds:
        prefix = PREFIXES[kind]
        path = folder / f"precision_recall_{prefix}.png"
        paths.append(plot_precision_recall(evaluator.match_table(kind), names, path, title=prefix))
        if kind in SHAPES:
            matrix = confusion_matrix(truth, evaluator.results, kind=kind)
            path = folder / f"confusion_{prefix}.png"
            paths.append(plot_confusion(matrix, truth.class_names, path, title=prefix))
    return paths


def plot_precision_recall(
    table: MatchTable, names: Mapping[int, str], path: str | Path, title: str = ""
) -> Path:
    """Draws precision over recall: left the mean of the classes for every IoU threshold, right the
    classes with the highest AP50 at IoU 0.5.

    Args:
        table: Of `CocoEvaluator.match_table`.
        names: Category id -> name.
        path: PNG file to write; replaced if it exists.
        title: Of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _new_figure(11, 5)
    mean_axes, class_axes = figure.subplots(1, 2, sharey=True)
    precision = table.precision[..., 0]  # (T, R, K), all areas
    for index, iou in enumerate(table.iou_thresholds):
        defined = precision[index][:, (precision[index] > -1).all(axis=0)]  # (R, K')
        if defined.size:
            label = f"{iou:.2f}: AP {100 * table.average_precision(iou):.1f}"
            shade = str(0.75 * index / len(table.iou_thresholds))
            mean_axes.plot(table.recall_thresholds, defined.mean(axis=1), label=label, color=shade)
    for category_id, value in _best_classes(table):
        curve = precision[0, :, table.category_ids.index(category_id)]
        label = f"{names[category_id]}: AP50 {100 * value:.1f}"
        class_axes.plot(table.recall_thresholds, curve, label=label)
    for axes, heading in ((mean_axes, "mean of classes, by IoU"), (class_axes, "IoU 0.50")):
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", title=heading)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8, loc="best")
    mean_axes.set_ylabel("precision")
    figure.suptitle(title)
    return _save(figure, path)


def plot_confusion(
    matrix: np.ndarray, class_names: Sequence[str], path: str | Path, title: str = ""
) -> Path:
    """Draws a confusion matrix, coloured by the share of each row.

    Args:
        matrix: (K + 1, K + 1), of `confusion_matrix`.
        class_names: Names of the K classes.
        path: PNG file to write; replaced if it exists.
        title: Of the picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The matrix does not fit the names.
    """
    count = len(class_names) + 1
    if matrix.shape != (count, count):
        raise ValueError(
            f"`matrix` must have shape (K + 1, K + 1) with K = {count - 1} names. "
            f"Received: matrix.shape={matrix.shape}"
        )
    side = min(3.0 + 0.45 * count, 24.0)  # inches
    figure = _new_figure(side, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(count)
    axes.set_xticks(ticks, [*class_names, "(missed)"], rotation=90)
    axes.set_yticks(ticks, [*class_names, "(invented)"])
    axes.set(xlabel="found", ylabel="true", title=title)
    if count - 1 <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(value), ha="center", va="center", color=color, fontsize=8)
    return _save(figure, path)


def plot_learning_curve(
    history: Sequence[Mapping[str, float]], path: str | Path, title: str = ""
) -> Path:
    """Draws what a training run wrote to its history.json: left the losses, right the AP.

    Args:
        history: An entry per epoch: {"epoch": 1, "loss": ..., "val_loss": ..., "val_mask_ap": ...};
            AP only where it was measured.
        path: The PNG to write; replaced if it exists.
        title: Above the picture.

    Returns:
        The path.

    Raises:
        ValueError: The history is empty.
        ImportError: matplotlib is not installed.

    Example:
        >>> plot_learning_curve(json.loads(Path("run/history.json").read_text()), "curve.png")
    """
    if not history:
        raise ValueError("`history` must have at least one epoch. Received: []")
    figure = _new_figure(11.0, 4.0)
    losses, scores = figure.subplots(1, 2)
    figure.suptitle(title)
    for name in sorted({name for row in history for name in row if "loss" in name}):
        style = {"linestyle": "--"} if name.startswith("val_") else {}
        losses.plot(*_series(history, name), label=name, **style)
    for name in ("val_box_ap", "val_box_ap50", "val_mask_ap", "val_mask_ap50"):
        epochs, values = _series(history, name)
        if epochs:
            scores.plot(epochs, values, marker="o", label=name)
    for axes, label in ((losses, "loss"), (scores, "average precision")):
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    return _save(figure, path)


def _series(history, name: str) -> tuple[list[float], list[float]]:
    """Epochs that have the value, and the values."""
    rows = [row for row in history if name in row]
    return [row["epoch"] for row in rows], [row[name] for row in rows]


def _best_classes(table: MatchTable) -> list[tuple[int, float]]:
    """(category id, AP50) of the classes to draw, best first."""
    iou = float(table.iou_thresholds[0])
    values = [(i, table.average_precision(iou, category_id=i)) for i in table.category_ids]
    defined = [(i, value) for i, value in values if not np.isnan(value)]
    return sorted(defined, key=lambda item: -item[1])[:_MOST_CLASSES]


def _new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches, that touches no global state of matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
    return path
