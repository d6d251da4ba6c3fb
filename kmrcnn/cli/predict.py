"""`kmrcnn predict`: pictures and videos in; drawn pictures, JSON, label maps and polygons out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kmrcnn.cli.predictor_options import add_predictor_options, make_predictor, positive

DEFAULT_MODEL = ("mask_rcnn_r18_coins", "bundled")
KINDS = ("overlay", "json", "masks", "polygons")
_EPILOG = """\
Without --model and --weights the small model that comes with the package is used: it finds
coins and simple shapes.

written to DIR:
  overlay/    pictures with their detections drawn; videos as MP4
  json/       one file per picture: boxes (xyxy), scores, classes, masks (RLE)
  coco_results.json, coco_images.json (with json)
              all results in COCO's format, and the images and categories they mean
  masks/      16-bit PNG: 0 background, i the i-th object
  polygons/   LabelMe files that name the picture, to correct by hand
  explain/    with --explain: one picture per stage of the model

huge pictures (--tile):
  the model sees each tile as a picture: choose one in which objects look as large as in training;
  uncompressed 8-bit TIFF is read tile by tile, other formats as a whole; memory stays that of a
  tile with --save json,polygons; overlays and masks take a few times the picture more

exit code:
  0 all went well, 1 some input failed (the others were done), 2 wrong usage

examples:
  kmrcnn predict coins.jpg
  kmrcnn predict photos/ clip.mp4 --model maskrcnn_resnet50_fpn --output predictions
  kmrcnn predict 'photos/**/*.jpg' --model mask_rcnn_R_50_FPN_3x --classes person dog
  kmrcnn predict street.jpg --model my_model.yaml --weights my_weights.npz --explain
  kmrcnn predict slide.tif --model my_model.keras --tile 1024 --overlap 128 --save json
"""


def add_parser(subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="find objects in pictures and videos",
        description="Find objects in pictures and videos, and write what was found.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="picture, video, folder, or pattern in quotes"
    )
    parser.add_argument(
        "--model", metavar="PRESET", help="a name of `kmrcnn presets`, a YAML or .keras file"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="a weight file, or a name such as coco (default: the preset's published weights)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        metavar="DIR",
        help="default: predictions",
    )
    parser.add_argument(
        "--score-threshold",
        type=_fraction,
        default=0.5,
        metavar="T",
        help="lowest score of a detection, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="only these, by name or number (default: all)"
    )
    parser.add_argument(
        "--save",
        type=_kinds,
        default=("overlay", "json"),
        metavar="KINDS",
        help=f"what to write, of {','.join(KINDS)} (default: overlay,json)",
    )
    parser.add_argument(
        "--color-by",
        choices=("auto", "class", "instance"),
        default="auto",
        help="colours (default: auto, by instance for models with a single class)",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="also draw proposals, candidates and what removed them",
    )
    add_predictor_options(parser)
    parser.add_argument(
        "--max-frames", type=positive, metavar="N", help="of each video (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Loads the model and goes through the inputs."""
    from kmrcnn.data.images import find_images, read_image
    from kmrcnn.data.large_images import open_image

    if args.explain and (args.tile is not None or args.tta or args.tta_sides):
        raise ValueError("--explain shows the model alone, without --tile and --tta.")
    inputs = find_images(args.inputs)
    if not any(path.exists() for path in inputs):
        raise FileNotFoundError(f"There is no file {', '.join(map(str, inputs))}")
    preset, weights = choose_weights(args.model, args.weights)

    from kmrcnn.cli.outputs import OutputFolder
    from kmrcnn.cli.prediction_run import PredictionRun
    from kmrcnn.cli.quiet import import_quietly
    from kmrcnn.models.zoo import load_model
    from kmrcnn.structures.detections import class_numbers

    print(f"Loading {preset}" + (f", weights {weights}" if weights else ""), file=sys.stderr)
    import_quietly()
    model = load_model(preset, weights=weights)
    if "masks" in args.save and model.config.mask is None:
        raise ValueError(f"--save masks: {preset} has no masks, only boxes.")
    classes = args.classes and class_numbers(args.classes, model.config.class_names)
    detail_size = None if args.tile is None else (args.tile, args.tile)
    run = PredictionRun(
        predictor=make_predictor(model, args, args.score_threshold),
        output=OutputFolder(args.output, args.save, args.color_by, detail_size),
        channels=model.config.input.channels,
        classes=classes,
        batch_size=args.batch_size,
        explain=args.explain,
        max_frames=args.max_frames,
        read=read_image if args.tile is None else open_image,
    )
    return run.run(inputs)


def choose_weights(model: str | None, weights: str | None) -> tuple[str, str | None]:
    """Decides what to load: (preset, weights).

    Args:
        model: Preset name, YAML or .keras file, or None for the bundled model.
        weights: File or name of a checkpoint, or None for what the preset publishes.

    Raises:
        ValueError: Weights without a model, a preset without weights, or an unknown preset.
    """
    from kmrcnn.config.loader import load_preset

    if model is None:
        if weights is not None:
            raise ValueError("--weights needs --model: which model are these weights of?")
        return DEFAULT_MODEL
    if model.endswith(".keras"):  # brings its own
        return model, weights
    checkpoints = load_preset(model).checkpoints
    if weights is not None:
        return model, weights
    for name in ("coco", "bundled", *checkpoints):
        if name in checkpoints:
            return model, name
    raise ValueError(f"{model} has no published weights: give --weights FILE.")


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {text}")
    return value


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(
            f"must be of {','.join(KINDS)}, not {','.join(unknown) or repr(text)}"
        )
    return kinds
