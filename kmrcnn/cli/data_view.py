"""`kmrcnn data view`: annotations drawn on their pictures, as they are or augmented."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmrcnn.cli.data import add_source, open_source

if TYPE_CHECKING:
    import numpy as np

    from kmrcnn.data.example import Example

_ANY_PRESET = "maskrcnn_resnet50_fpn"  # its augmentation is the default one
_EPILOG = """\
examples:
  kmrcnn data view annotations.json --images photos --output samples
  kmrcnn data view voc_folder --output samples --number 4 --seed 7
  kmrcnn data view annotations.json --output samples --augment --set data.rotation=0.3
"""


def add_parser(subparsers: Any) -> None:
    """Adds the sub-verb and its arguments."""
    parser = subparsers.add_parser(
        "view",
        help="draw annotations on their pictures",
        description="Draws masks, boxes, class names and keypoints of some pictures, drawn by lot.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="where the pictures go"
    )
    parser.add_argument(
        "--number", type=int, default=16, metavar="N", help="of pictures; default: 16"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the lot; default: 0")
    parser.add_argument(
        "--augment",
        nargs="?",
        const=_ANY_PRESET,
        metavar="CONFIG",
        help="draw them as training sees them, by the `data` section of a training configuration "
        "(default: a horizontal flip)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="A.B=C",
        help="change a setting of --augment, such as data.rotation=0.3; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Draws and prints where to.

    Returns:
        0, or 1 if a picture could not be read.
    """
    if args.number < 1:
        raise ValueError(f"--number must be at least 1. Received: {args.number}")
    if args.overrides and args.augment is None:
        raise ValueError("--set changes settings of --augment: give that, too.")
    import numpy as np
    from tqdm import tqdm

    from kmrcnn.data.writers.pictures import UniqueNames

    dataset = open_source(args)
    print(dataset.report())
    lot = np.random.default_rng(args.seed)
    count = min(args.number, len(dataset))
    chosen = sorted(lot.choice(len(dataset), count, replace=False)) if count else []
    augment, names, failed = _augmentation(args, dataset), UniqueNames(), 0
    for index in tqdm(chosen, unit="picture", leave=False, disable=None):
        path = args.output / f"{names.take(str(dataset.records[index].image_id))}.png"
        try:
            example = augment(dataset[index], np.random.default_rng((args.seed, index)))
            _save(path, example, dataset)
        except (OSError, ValueError) as error:
            failed += 1
            tqdm.write(f"skipped: {error}", file=sys.stderr)
    print(f"written: {count - failed} pictures in {args.output}")
    return 1 if failed else 0


def _augmentation(
    args: argparse.Namespace, dataset: Any
) -> Callable[[Example, np.random.Generator], Example]:
    if args.augment is None:
        return lambda example, _: example
    from kmrcnn.config.loader import load_experiment
    from kmrcnn.data.augment.compose import make_augmentation

    config = load_experiment(args.augment, args.overrides).data
    return make_augmentation(config, dataset)


def _save(path: Path, example: Example, dataset: Any) -> None:
    from PIL import Image

    from kmrcnn.data.files import written_aside
    from kmrcnn.visualize.draw_example import draw_example

    picture = Image.fromarray(draw_example(example, dataset.class_names))
    with written_aside(path) as aside:
        picture.save(aside)
