"""Options of `kmrcnn predict` and `kmrcnn evaluate` that say how pictures are looked at."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
    from kmrcnn.predictor import Predictor
    from kmrcnn.tiled import TiledPredictor


def add_predictor_options(parser: argparse.ArgumentParser) -> None:
    """Adds --batch-size, --tta, --tta-sides, --tile and --overlap."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="pictures at once, for GPUs (default: 1)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: look at each picture in three sizes, and mirrored",
    )
    parser.add_argument(
        "--tta-sides",
        type=_sides,
        metavar="N,N,...",
        help="short sides for --tta (default: 0.75, 1 and 1.25 times the model's)",
    )
    parser.add_argument(
        "--tile",
        type=positive,
        metavar="N",
        help="for huge pictures: look at them in overlapping tiles of N x N pixels",
    )
    parser.add_argument(
        "--overlap",
        type=int,
        default=128,
        metavar="N",
        help="pixels that neighbouring tiles share (default: 128)",
    )


def make_predictor(
    model: GeneralizedRCNN, args: argparse.Namespace, score_threshold: float
) -> Predictor | TiledPredictor:
    """Makes the predictor that the options ask for.

    Raises:
        ValueError: The overlap is as large as a tile.
    """
    from kmrcnn.predictor import Predictor

    options = {}
    if args.tta or args.tta_sides:
        from kmrcnn.augmented_inference import InferenceAugmentation

        options["augmentation"] = InferenceAugmentation(short_sides=args.tta_sides)
    predictor = Predictor(
        model, score_threshold=score_threshold, batch_size=args.batch_size, **options
    )
    if args.tile is None:
        return predictor
    from kmrcnn.tiled import TiledPredictor

    return TiledPredictor(predictor, args.tile, args.overlap)


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _sides(text: str) -> tuple[int, ...]:
    return tuple(positive(side) for side in text.split(","))
