"""`kmrcnn export`: a model for other runtimes, compared with the original if wanted."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
formats:
  saved_model  TensorFlow Serving; pictures of any size and number, encoded ones too
  onnx         ONNX Runtime; one size of picture; precisions float32, float16
  tensorrt     an engine where TensorRT is installed, else the ONNX file and how to build it;
               precisions float32, float16, int8
  tflite       LiteRT on phones; one size of picture, one at a time; precisions float32, float16,
               dynamic_int8, int8
  all          every format and precision that can be had here, each in DIR/FORMAT-PRECISION

Pictures must fill --image-size where the size is fixed: they are resized as the model does, or
further until they fit, and padded with zeros.

exit code:
  0 all went well, 1 beyond the tolerance of --verify or an export of several failed, 2 wrong usage
  or nothing could be done

examples:
  kmrcnn export mask_rcnn_r18_coins --format onnx --output coins_onnx --image-size 256 352
  kmrcnn export maskrcnn_resnet50_fpn --format saved_model --output serving/model
  kmrcnn export my_model.keras --format tflite --precision float32 int8 --calibration photos \\
      --output phone --verify --images photos --annotations val.json
  kmrcnn export maskrcnn_resnet50_fpn --format all --output exported --verify --images photos
"""


def add_parser(subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write a model for TensorFlow Serving, ONNX, TensorRT or LiteRT",
        description="Write a model as a folder that another runtime can use. Needs "
        'pip install "kmrcnn[export]" for all formats but saved_model.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="PRESET", help="preset, YAML or .keras file")
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="a weight file, or a name such as coco (default: the preset's published weights)",
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=("saved_model", "onnx", "tensorrt", "tflite", "all"),
        help="see below",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="the folder to make"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace DIR if it holds an exported model"
    )
    _add_model_options(parser)
    _add_verification_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is fixed in the file")
    group.add_argument(
        "--precision",
        nargs="+",
        metavar="NAME",
        help="several go into DIR/FORMAT-PRECISION (default: float32; of all: every one)",
    )
    group.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="height and width of the network's input (default: the model's short and long side)",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="onnx, tensorrt: the number of pictures at once (default: any)",
    )
    group.add_argument(
        "--score-threshold",
        type=float,
        metavar="T",
        help="lowest score of a detection (default of this and the next two: the model's)",
    )
    group.add_argument("--nms-threshold", type=float, metavar="T", help="overlap of two boxes")
    group.add_argument("--max-detections", type=int, metavar="N", help="per picture")
    group.add_argument(
        "--paste-masks", action="store_true", help="saved_model: masks in pixels of the picture"
    )
    group.add_argument(
        "--custom-op", action="store_true", help="saved_model: RoIAlign by the compiled library"
    )
    group.add_argument(
        "--model-version",
        type=int,
        default=1,
        metavar="N",
        help="saved_model: the number of its folder (default: 1)",
    )
    group.add_argument(
        "--calibration", type=Path, metavar="DIR", help="pictures that int8 takes its ranges from"
    )


def _add_verification_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("comparison with the original")
    group.add_argument(
        "--verify", action="store_true", help="run both on the same pictures, write verification.*"
    )
    group.add_argument("--images", type=Path, metavar="DIR", help="pictures for --verify")
    group.add_argument(
        "--annotations", type=Path, metavar="SRC", help="of those pictures: AP is compared too"
    )
    group.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")


def run(args: argparse.Namespace) -> int:
    """Exports, verifies and prints what was written and what was not."""
    _check(args)
    from kmrcnn.cli.predict import choose_weights

    preset, weights = choose_weights(args.model, args.weights)
    from kmrcnn.cli.quiet import import_quietly

    import_quietly("tensorflow")
    from kmrcnn.cli.export_run import ExportRun, planned
    from kmrcnn.models import zoo

    jobs = planned(args)
    print(f"Loading {preset}" + (f", weights {weights}" if weights else ""), flush=True)
    return ExportRun(zoo.load_model(preset, weights=weights), args).run(jobs)


def _check(args: argparse.Namespace) -> None:
    """What is wrong whatever the model is, before it is loaded."""
    from kmrcnn.data.images import find_images

    if args.verify and args.images is None:
        raise ValueError("--verify needs --images DIR.")
    if not args.verify:
        given = [name for name in ("images", "annotations", "limit") if getattr(args, name)]
        if given:
            raise ValueError(f"--{given[0]} needs --verify.")
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1. Received: {args.limit}")
    for name in ("images", "annotations", "calibration"):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise FileNotFoundError(f"--{name}: there is no file or folder {path}")
    pictures = [args.calibration, None if args.annotations else args.images]
    for path in filter(None, pictures):
        find_images(path)  # raises where there are none
