"""`kmrcnn presets`: the models that can be loaded by name."""

from __future__ import annotations

import argparse

_EPILOG = """\
AP is what the publisher states for COCO val2017; "-" where nothing is stated.

example:
  kmrcnn presets
"""


def add_parser(subparsers) -> None:
    """Adds the verb to the command line."""
    subparsers.add_parser(
        "presets",
        help="list the models that can be loaded by name",
        description="List the presets: models with their published accuracy and weights.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    """Prints one line per preset."""
    from kmrcnn.config.loader import list_presets, load_preset

    header = ("PRESET", "BOX AP", "MASK AP", "WEIGHTS", "DESCRIPTION")
    rows = [header, *(_row(load_preset(name)) for name in list_presets())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def _row(preset) -> tuple[str, ...]:
    return (
        preset.name,
        _best(preset, "box_ap"),
        _best(preset, "mask_ap"),
        ", ".join(preset.checkpoints) or "-",
        preset.description,
    )


def _best(preset, field: str) -> str:
    values = [getattr(checkpoint, field) for checkpoint in preset.checkpoints.values()]
    stated = [value for value in values if value is not None]
    return f"{max(stated):.1f}" if stated else "-"
