"""`kmrcnn evaluate`: average precision of a model, or of a result file, on an annotated dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmrcnn.cli.predictor_options import add_predictor_options, make_predictor

if TYPE_CHECKING:
    from kmrcnn.data.records import AnnotatedImages
    from kmrcnn.eval.evaluate import EvaluationResult

KINDS = ("bbox", "segm", "keypoints")
RULES = ("coco", "voc", "lvis", "cityscapes")
_EPILOG = """\
Classes of model and dataset are matched by name. All scores count, as AP wants it; the model's
own threshold and limit of detections apply.

other rules (--rules), printed after COCO's figures:
  voc         AP at IoU 0.5, area under the curve and 11 points
  lvis        federated annotations; needs an LVIS file; AP of rare, common, frequent classes
  cityscapes  AP of masks against gtFine_instanceIds.png

examples:
  kmrcnn evaluate maskrcnn_resnet50_fpn --annotations instances_val2017.json --images val2017
  kmrcnn evaluate my_model.keras --annotations val.json --images photos --plots plots --limit 100
  kmrcnn evaluate --detections results.json --annotations instances_val2017.json
"""


def add_parser(subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a model on annotated pictures",
        description="Find objects in annotated pictures and print the average precision.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="preset, YAML or .keras file, as for predict"
    )
    parser.add_argument("--weights", metavar="FILE|NAME", help="as for predict")
    parser.add_argument(
        "--detections",
        type=Path,
        metavar="FILE",
        help="score these (COCO results) in place of a model's; needs no pictures",
    )
    _add_dataset_options(parser)
    _add_scoring_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write detections, COCO results")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write precision-recall and confusion as PNG"
    )


def _add_dataset_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        required=True,
        type=Path,
        metavar="SRC",
        help="the dataset: COCO JSON, or any other format that `kmrcnn data` reads",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of its pictures")
    parser.add_argument("--format", metavar="NAME", help="of SRC (default: found out)")
    parser.add_argument("--split", metavar="NAME", help="part of SRC, such as val")
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="classes of SRC, for formats without a list",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")


def _add_scoring_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kinds", type=_kinds, metavar="KINDS", help=f"of {','.join(KINDS)} (default: all there)"
    )
    parser.add_argument("--rules", choices=RULES, default="coco", help="default: coco")
    parser.add_argument(
        "--max-detections",
        type=int,
        default=100,
        metavar="N",
        help="per picture and class that count (default: 100, COCO's)",
    )
    parser.add_argument(
        "--common-classes",
        action="store_true",
        help="score only the classes that model and dataset share",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "faster_coco_eval", "pycocotools"),
        default="auto",
        help="who matches; the numbers are the same (default: the faster one installed)",
    )
    add_predictor_options(parser)


def run(args: argparse.Namespace) -> int:
    """Predicts, scores, prints and writes."""
    if (args.model is None) == (args.detections is None):
        raise ValueError("Give either MODEL or --detections FILE.")
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1. Received: {args.limit}")
    if args.plots:
        _require_matplotlib()
    dataset, result = _evaluate_model(args) if args.model else _evaluate_file(args)
    print(result)
    if args.rules != "coco":
        from kmrcnn.eval.other_rules import OTHER_RULES
        from kmrcnn.eval.report import metrics_table

        metrics = OTHER_RULES[args.rules](result.evaluator, dataset)
        print(f"\nby the rules of {args.rules}:\n{metrics_table(metrics)}")
    if args.json:
        print(f"\nwritten: {result.write_results(args.json)}")
    if args.plots:
        from kmrcnn.eval.plots import write_plots

        print("\n".join(f"written: {path}" for path in write_plots(result.evaluator, args.plots)))
    return 0


def _evaluate_model(args: argparse.Namespace) -> tuple[AnnotatedImages, EvaluationResult]:
    from kmrcnn.cli.predict import choose_weights

    preset, weights = choose_weights(args.model, args.weights)
    dataset = _open(args)
    print(dataset.report(), file=sys.stderr)

    from kmrcnn.cli.quiet import import_quietly

    print(f"Loading {preset}" + (f", weights {weights}" if weights else ""), file=sys.stderr)
    import_quietly()
    from kmrcnn.eval.evaluate import evaluate
    from kmrcnn.models.zoo import load_model

    model = load_model(preset, weights=weights)
    return dataset, evaluate(
        make_predictor(model, args, score_threshold=0.0),
        dataset,
        kinds=args.kinds,
        limit=args.limit,
        ground_truth=_coco_document(args),
        engine=args.engine,
        max_detections=args.max_detections,
        common_classes=args.common_classes,
    )


def _evaluate_file(args: argparse.Namespace) -> tuple[Any, EvaluationResult]:
    """Scores a result file; a COCO file's pictures need not be there."""
    from kmrcnn.data.datasets.annotation_files import read_json
    from kmrcnn.eval.coco_evaluator import CocoEvaluator
    from kmrcnn.eval.evaluate import EvaluationResult
    from kmrcnn.eval.ground_truth import GroundTruth

    source = _coco_document(args)
    dataset = None
    if source is None or args.rules == "cityscapes":
        dataset = _open(args)
    truth = GroundTruth.of(dataset if source is None else source)
    results = read_json(args.detections)
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise ValueError(f"{args.detections} must hold a list of COCO results.")
    kinds = args.kinds or _kinds_of(results, truth.kinds())
    if args.limit is not None:
        names = list(truth.image_numbers)
        truth = truth.subset(names[: args.limit])
        beyond = set(names[args.limit :])
        results = [one for one in results if one.get("image_id") not in beyond]
    evaluator = CocoEvaluator(truth, kinds, args.engine, args.max_detections)
    evaluator.add_results(results)
    return dataset, EvaluationResult.of(evaluator)


def _open(args: argparse.Namespace) -> AnnotatedImages:
    from kmrcnn.data.datasets import open_dataset

    return open_dataset(
        args.annotations,
        args.images,
        format=args.format,
        split=args.split,
        class_names=args.class_names,
    )


def _coco_document(args: argparse.Namespace) -> Any:
    """The content of a COCO or LVIS file, else None.

    Figures that compare with others' need every annotation in it, also those that a loader skips.
    """
    from kmrcnn.data.datasets.annotation_files import read_json
    from kmrcnn.data.datasets.coco import is_coco

    is_other = args.format not in (None, "coco", "lvis") or args.class_names is not None
    if is_other or args.annotations.suffix.lower() != ".json":
        return None
    document = read_json(args.annotations)
    return document if is_coco(document) else None


def _kinds_of(results: list[dict[str, Any]], annotated: tuple[str, ...]) -> tuple[str, ...]:
    """What both the results and the ground truth have."""
    fields = set(results[0]) if results else {"bbox"}
    has = {
        "bbox": bool(fields & {"bbox", "segmentation"}),
        "segm": "segmentation" in fields,
        "keypoints": "keypoints" in fields,
    }
    return tuple(kind for kind in annotated if has[kind])


def _require_matplotlib() -> None:
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--plots needs matplotlib: pip install matplotlib")


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"must be of {','.join(KINDS)}, not {text!r}")
    return kinds
