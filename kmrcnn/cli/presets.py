"""`kmrcnn presets`: the models that can be loaded and trained by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

_EPILOG = """\
AP is what the publisher states for COCO val2017; "-" where nothing is stated. Any preset can be
trained; training configurations also say how.

example:
  kmrcnn presets
"""

_PAPER = "paper_"  # names of the configurations of `configs/paper` begin so


def add_parser(subparsers) -> None:
    """Adds the verb to the command line."""
    subparsers.add_parser(
        "presets",
        help="list the models that can be loaded and trained by name",
        description="List the presets: models with their published accuracy and weights, and "
        "training configurations.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    """Prints one line per preset."""
    from kmrcnn.config.loader import (
        list_presets,
        load_experiment,
        load_preset,
        says_how_to_train,
    )

    presets = {name: load_preset(name) for name in list_presets()}
    recipes = [name for name in presets if says_how_to_train(name)]
    of_paper = [name for name in recipes if name.startswith(_PAPER)]
    models = [one for name, one in presets.items() if one.checkpoints or name not in recipes]
    header = ("PRESET", "BOX AP", "MASK AP", "KEYPOINT AP", "WEIGHTS", "DESCRIPTION")
    _print_table([header, *_grouped_rows(models)])
    print("\ntraining configurations, for kmrcnn train NAME:\n")
    header = ("NAME", "STARTS FROM", "EPOCHS", "BATCH", "DESCRIPTION")
    own = [name for name in recipes if name not in of_paper]
    _print_table([header, *(_recipe_row(load_experiment(name)) for name in own)])
    print("\nrows of the paper's tables, for kmrcnn reproduce TABLE or kmrcnn train NAME:\n")
    _print_table([header, *(_recipe_row(load_experiment(name)) for name in of_paper)])
    return 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    full = [row for row in rows if len(row) == len(rows[0])]  # the others are titles
    widths = [max(len(row[column]) for row in full) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _grouped_rows(models: Sequence[Any]) -> list[tuple[str, ...]]:
    """A row per model, those of one publisher and task together below a title."""
    groups: dict[str, list[Any]] = {}
    for preset in models:
        groups.setdefault(_group(preset), []).append(preset)
    rows = []
    for title in sorted(groups):
        rows += [(), (f"{title}:",), *map(_model_row, groups[title])]
    return rows


def _group(preset: Any) -> str:
    """Such as "Mask R-CNN, weights of detectron2"."""
    model = preset.model
    task = "Mask R-CNN" if model.mask is not None else "Faster R-CNN"
    task = "Keypoint R-CNN" if model.keypoint is not None else task
    formats = sorted({checkpoint.format for checkpoint in preset.checkpoints.values()})
    return f"{task}, weights of {', '.join(formats)}" if formats else f"{task}, to be trained"


def _model_row(preset: Any) -> tuple[str, ...]:
    return (
        preset.name,
        _best(preset, "box_ap"),
        _best(preset, "mask_ap"),
        _best(preset, "keypoint_ap"),
        ", ".join(preset.checkpoints) or "-",
        preset.description,
    )


def _recipe_row(experiment: Any) -> tuple[str, ...]:
    start = "random weights"
    if experiment.weights is not None:
        start = " ".join(filter(None, (experiment.preset, experiment.weights)))
    train = experiment.train
    return experiment.name, start, str(train.epochs), str(train.batch_size), experiment.description


def _best(preset: Any, field: str) -> str:
    values = [getattr(checkpoint, field) for checkpoint in preset.checkpoints.values()]
    stated = [value for value in values if value is not None]
    return f"{max(stated):.1f}" if stated else "-"
