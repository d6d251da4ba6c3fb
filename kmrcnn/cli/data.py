"""`kmrcnn data`: annotated pictures, before any training."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

SUB_VERBS = ("check", "view", "convert")
_EPILOG = """\
examples:
  kmrcnn data check annotations.json --images photos
  kmrcnn data view balloon/train/via_region_data.json --output samples
  kmrcnn data convert voc_folder annotations.json
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its sub-verbs, one module `data_<name>` each."""
    parser = subparsers.add_parser(
        "data",
        help="check, look at and convert annotated pictures",
        description="Reads COCO, LVIS, Pascal VOC, Cityscapes, VIA, LabelMe and YOLO annotations, "
        "PNG masks and TFRecord shards.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inner = parser.add_subparsers(dest="sub_verb", metavar="WHAT", required=True)
    for name in SUB_VERBS:
        _module(name).add_parser(inner)
        inner.choices[name].add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )


def run(args: argparse.Namespace) -> int:
    """Hands over to the sub-verb."""
    return _module(args.sub_verb).run(args)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which dataset to read, the same for all sub-verbs."""
    parser.add_argument("src", metavar="SRC", help="annotation file, or folder of a dataset")
    parser.add_argument("--images", metavar="DIR", help="its pictures, if not in their usual place")
    parser.add_argument(
        "--source-format", metavar="NAME", help="format of SRC; default: recognised"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="part of SRC, for Pascal VOC, Cityscapes and YOLO"
    )
    parser.add_argument(
        "--class-names", nargs="+", metavar="NAME", help="classes to read, in this order"
    )


def open_source(args: argparse.Namespace) -> Any:
    """The dataset that the arguments of `add_source` name."""
    from kmrcnn.data.datasets import open_dataset
    from kmrcnn.data.datasets.tfrecord import is_tfrecord

    if is_tfrecord(Path(args.src)):
        from kmrcnn.cli.quiet import import_quietly

        import_quietly("tensorflow")
    return open_dataset(
        args.src,
        args.images,
        format=args.source_format,
        split=args.split,
        class_names=args.class_names,
    )


def _module(name: str) -> Any:
    return importlib.import_module(f"kmrcnn.cli.data_{name}")
