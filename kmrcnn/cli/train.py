"""`kmrcnn train`: a configuration and annotated pictures -> a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
CONFIG is a training configuration or any preset (see `kmrcnn presets`); its classes become those of
the data, and published weights keep what they know of classes of the same name. OUTPUT gets
config.yaml, history.json, best.keras, model.keras, snapshot.npz and TensorBoard's files.

examples:
  kmrcnn train mask_rcnn_balloon --data balloon/train --validation balloon/val --output run
  kmrcnn train mask_rcnn_R_50_FPN_3x --weights coco --data annotations.json --images photos \\
      --output run --set train.epochs=20 --set train.batch_size=2
  kmrcnn train run/config.yaml --data balloon/train --validation balloon/val --output run --resume
  kmrcnn predict photo.jpg --model run/best.keras
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = subparsers.add_parser(
        "train",
        help="train a model on annotated pictures",
        description="Trains a model on annotations of any format that `kmrcnn data` reads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="preset, or YAML file")
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="SRC",
        help="annotations to learn from; several sets of the same classes are joined",
    )
    parser.add_argument("--images", metavar="DIR", help="their pictures, if not beside them")
    parser.add_argument("--validation", metavar="SRC", help="annotations to measure on")
    parser.add_argument("--validation-images", metavar="DIR", help="their pictures")
    parser.add_argument("--format", metavar="NAME", help="of the annotations; default: recognised")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="of the run")
    parser.add_argument(
        "--weights",
        metavar="W",
        help="start from a checkpoint of the preset (coco, bundled), a weight file, or `none`; "
        "default: what CONFIG says",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="A.B=C",
        help="change a setting, such as train.optimizer.learning_rate=0.001; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Trains and prints where the results are."""
    from kmrcnn.config.loader import load_experiment

    experiment = load_experiment(args.config, args.overrides)
    from kmrcnn.cli.quiet import import_quietly

    import_quietly()
    from kmrcnn.train.distribution import make_strategy, this_worker

    strategy = make_strategy(experiment.train.strategy)  # before TensorFlow computes anything
    from kmrcnn.train.trainer import train

    train_data, validation_data = _open_data(args)
    experiment = _fitted(experiment, args.weights, train_data)
    if this_worker().is_chief and not args.quiet:
        for dataset in filter(None, (train_data, validation_data)):
            print(dataset.report())
    result = train(
        experiment,
        train_data,
        validation_data,
        args.output,
        resume=args.resume,
        strategy=strategy,
        verbose=0 if args.quiet or not this_worker().is_chief else 1,
    )
    print(_summary(result))
    return 0


def _open_data(args: argparse.Namespace) -> tuple[Any, Any]:
    from kmrcnn.data.datasets import open_dataset

    train_data = open_dataset(args.data[0], args.images, format=args.format)
    for source in args.data[1:]:
        names = train_data.class_names
        more = open_dataset(source, args.images, format=args.format, class_names=names)
        train_data = _joined(train_data, more)
    if args.validation is None:
        return train_data, None
    validation_data = open_dataset(
        args.validation,
        args.validation_images,
        format=args.format,
        class_names=train_data.class_names,
    )
    return train_data, validation_data


def _joined(one: Any, other: Any) -> Any:
    from kmrcnn.data.records import AnnotatedImages

    return AnnotatedImages(
        [*one.records, *other.records],
        one.class_names,
        one.category_ids,
        [*one.problems, *other.problems],
        one.keypoint_names,
        one.name,
    )


def _fitted(experiment: Any, weights: str | None, data: Any) -> Any:
    """The experiment with the data's classes and the weights asked for."""
    import dataclasses

    from kmrcnn.models.zoo import require_weights
    from kmrcnn.train.experiments import for_classes, source_preset

    experiment = for_classes(experiment, data.class_names, data.category_ids)
    if weights is not None:
        weights = None if weights == "none" else weights
        experiment = dataclasses.replace(experiment, weights=weights)
    if experiment.weights is not None:
        require_weights(experiment.weights, source_preset(experiment))
    return experiment


def _summary(result: Any) -> str:
    files = result.files
    lines = [f"trained model: {files.model}"]
    if files.best.exists():
        lines.append(f"best epoch's model: {files.best}")
    if result.history:
        last = {name: f"{value:.4g}" for name, value in result.history[-1].items()}
        lines.append("last epoch: " + ", ".join(f"{k} {v}" for k, v in last.items()))
    return "\n".join(lines)
