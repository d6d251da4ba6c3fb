"""`kmrcnn data convert`: a dataset of any format -> COCO JSON, LabelMe or TFRecord."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kmrcnn.cli.data import add_source, open_source

_FORMATS = ("coco", "labelme", "tfrecord")
_SHOWN_PROBLEMS = 5
_EPILOG = """\
DST is a .json file for coco, a folder for labelme and tfrecord. Pictures stay where they are,
except that tfrecord takes them in; out of tfrecord they are written beside the annotations.

examples:
  kmrcnn data convert voc_folder annotations.json
  kmrcnn data convert annotations.json to_correct/ --format labelme
  kmrcnn data convert annotations.json shards/ --format tfrecord --shards 8
"""


def add_parser(subparsers: Any) -> None:
    """Adds the sub-verb and its arguments."""
    parser = subparsers.add_parser(
        "convert",
        help="write a dataset as COCO JSON, LabelMe or TFRecord",
        description="Reads a dataset of any known format and writes it as another.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument("dst", metavar="DST", type=Path, help="file or folder to write")
    parser.add_argument(
        "--format", choices=_FORMATS, help="of DST; default: coco where DST ends in .json"
    )
    parser.add_argument("--shards", type=int, metavar="N", help="files of tfrecord")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="PIXELS",
        help="of labelme polygons around masks; default: 0.5",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")


def run(args: argparse.Namespace) -> int:
    """Converts, and prints what was read, left out and written.

    Returns:
        0, or 1 if something was left out.
    """
    name = _target_format(args)
    dataset = open_source(args)
    print(dataset.report())
    if name == "tfrecord":
        from kmrcnn.cli.quiet import import_quietly

        import_quietly("tensorflow")
    problems = dataset.problems + _write(name, dataset, args)
    for problem in problems[:_SHOWN_PROBLEMS]:
        place = "" if problem.image_id is None else f" (image {problem.image_id})"
        print(f"left out, {problem.kind}{place}: {problem.message}")
    if len(problems) > _SHOWN_PROBLEMS:
        print(f"... and {len(problems) - _SHOWN_PROBLEMS} more")
    if name == "labelme" and dataset.keypoint_names:
        print("LabelMe has no place for keypoints: they are left out.")
    print(f"written: {args.dst}")
    return 1 if problems else 0


def _target_format(args: argparse.Namespace) -> str:
    is_json = args.dst.suffix.lower() == ".json"
    if args.format is None and not is_json:
        raise ValueError(
            f"DST is a folder: say which --format, labelme or tfrecord. Received: {str(args.dst)!r}"
        )
    name = args.format or "coco"
    if (name == "coco") != is_json:
        kind = "a file that ends in .json" if name == "coco" else "a folder"
        raise ValueError(f"DST must be {kind} for {name}. Received: {str(args.dst)!r}")
    for option, meant_for in (("shards", "tfrecord"), ("tolerance", "labelme")):
        if getattr(args, option) is not None and name != meant_for:
            raise ValueError(f"--{option} is for {meant_for}, not for {name}.")
    if args.dst.exists() and not args.overwrite and (is_json or any(args.dst.iterdir())):
        raise ValueError(f"{str(args.dst)!r} exists; --overwrite replaces it.")
    return name


def _write(name: str, dataset: Any, args: argparse.Namespace) -> list[Any]:
    from kmrcnn.data.writers import write_coco, write_labelme, write_tfrecord

    if name == "coco":
        return write_coco(dataset, args.dst, overwrite=args.overwrite)
    if name == "labelme":
        options = {} if args.tolerance is None else {"tolerance": args.tolerance}
        return write_labelme(dataset, args.dst, overwrite=args.overwrite, **options)
    return write_tfrecord(dataset, args.dst, num_shards=args.shards, overwrite=args.overwrite)
