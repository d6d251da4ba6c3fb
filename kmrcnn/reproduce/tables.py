"""The paper's tables as data: ``configs/paper/tables/*.yaml``, their rows, numbers and datasets."""

from __future__ import annotations

import difflib
import importlib.resources
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Literal

from kmrcnn.config.from_dict import from_dict
from kmrcnn.config.strict_yaml import parse_yaml


@dataclass(frozen=True)
class Part:
    """Arguments of `open_dataset`; paths lie in the folder that the user names."""

    source: str
    images: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Parts:
    """What a row learns from, and what it is measured on."""

    train: Part
    validation: Part


@dataclass(frozen=True)
class Scenes:
    """Generated pictures, see `SyntheticScenes`."""

    train: int  # pictures
    validation: int
    side: int  # pixels
    classes: tuple[str, ...]
    radius: tuple[float, float]  # fractions of the side
    max_objects: int
    coin_fraction: float = 0.5  # chance of a picture of coins only


@dataclass(frozen=True)
class Mini:
    """A table scaled down: one small configuration, and what each row changes in it."""

    config: str
    rows: dict[str, tuple[str, ...]]  # row's name -> overrides, as of `load_experiment`
    scenes: Scenes  # where the user gives no folder
    data: Parts  # of a folder
    settings: tuple[str, ...] = ()  # overrides of all rows


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    config: str | None  # preset; None: what the row differs in is no setting, and it is not run
    paper: tuple[float | None, ...]  # its numbers in percent, one per metric of the table
    note: str = ""
    # row whose trained model this one measures in another way; None: its own
    trained_as: str | None = None
    # short sides of test-time augmentation, pixels, with mirrored pictures; None: one look
    short_sides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Attributes:
        name: Of its file.
        title: What it compares.
        source: Where the numbers are from, and what they were measured on.
        metrics: Names of `EvaluationResult.metrics` (or of the rules).
        data: Of the full table.
        rows: In the paper's order.
        rules: Whose AP the metrics are.
        note: How the runs differ from the paper's, where all rows do.
        mini: None if there is no scaled-down version.
    """

    name: str
    title: str
    source: str
    metrics: tuple[str, ...]
    data: Parts
    rows: tuple[Row, ...]
    rules: Literal["coco", "cityscapes"] = "coco"
    note: str = ""
    mini: Mini | None = None

    def __post_init__(self):
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"`rows` must have different names. Received: {names}")
        for row in self.rows:
            if len(row.paper) != len(self.metrics):
                raise ValueError(
                    f"`paper` of row {row.name!r} must have one number per metric "
                    f"({len(self.metrics)}). Received: {row.paper}"
                )
        meant = {row.trained_as for row in self.rows if row.trained_as is not None}
        meant |= set(self.mini.rows) if self.mini else set()
        if unknown := sorted(meant - set(names)):
            raise ValueError(f"There are no rows {unknown}; rows: {names}")


def list_tables() -> list[str]:
    """Names of the tables, sorted."""
    return sorted(_files())


def load_table(name: str) -> Table:
    """Reads a table.

    Raises:
        ValueError: There is none of this name, or its file is wrong.

    Example:
        >>> [row.name for row in load_table("table2b").rows]
        ['softmax', 'sigmoid']
    """
    files = _files()
    if name not in files:
        nearest = difflib.get_close_matches(name, files, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"`name` must be one of {', '.join(sorted(files))}. Received: {name!r}. "
            f"Did you mean {nearest}?"
        )
    mapping = parse_yaml(files[name].read_text(encoding="utf-8"), str(files[name]))
    try:
        return from_dict(Table, {"name": name, **mapping})
    except ValueError as error:
        raise ValueError(f"Table {name!r}: {error}") from error


def _files() -> dict[str, Traversable]:
    folder = importlib.resources.files("kmrcnn.configs") / "paper" / "tables"
    return {
        entry.name.removesuffix(".yaml"): entry
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
