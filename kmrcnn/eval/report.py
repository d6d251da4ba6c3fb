"""Evaluation results as text tables; values in per cent, as papers print them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmrcnn.eval.coco_evaluator import ClassScores


def metrics_table(metrics: Mapping[str, float]) -> str:
    """One line per prefix ("box", "mask"), one column per metric ("ap50").

    Args:
        metrics: Names such as "box_ap_small" -> [0, 1], nan for undefined.
    """
    lines: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        prefix, _, column = name.partition("_")
        lines.setdefault(prefix, {})[column] = value
    columns = list(dict.fromkeys(column for line in lines.values() for column in line))
    rows = [["", *(_title(column) for column in columns)]]
    for prefix, line in lines.items():
        cells = [per_cent(line[column]) if column in line else "" for column in columns]
        rows.append([prefix, *cells])
    return align(rows)


def class_table(per_class: Sequence[ClassScores]) -> str:
    """One line per class that occurs; the others are counted in the last line."""
    occurring = [line for line in per_class if line.num_objects]
    names = list(per_class[0].scores) if per_class else []
    rows = [["class", "objects", *(_title(name) for name in names)]]
    for line in occurring:
        values = [per_cent(line.scores[name]) for name in names]
        rows.append([line.name, str(line.num_objects), *values])
    absent = len(per_class) - len(occurring)
    note = f"\n{absent} classes do not occur" if absent else ""
    return align(rows) + note


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(lines)


def per_cent(value: float) -> str:
    """0.4567 -> "45.7", nan -> "-"."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _title(name: str) -> str:
    words = name.split("_")
    return " ".join(word.upper() if word[:2] in ("ap", "ar") else word for word in words)
