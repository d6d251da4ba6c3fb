"""`kmrcnn data check`: the dataset doctor."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmrcnn.cli.data import add_source

if TYPE_CHECKING:
    from kmrcnn.data.check.doctor import Examination

DEFAULT_MODEL = "mask_rcnn_R_50_FPN_3x"
_EPILOG = """\
exit code: 0 no faults, 1 faults found, 2 the dataset cannot be read

examples:
  kmrcnn data check annotations/instances_train.json
  kmrcnn data check via_export.json --images photos --json found.json
  kmrcnn data check VOC2012 --model maskrcnn_resnet50_fpn --decode
  kmrcnn data check train.json --images photos --fix train_clean.json
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = subparsers.add_parser(
        "check",
        help="find faults of a dataset: boxes, masks, ids, image files, anchors",
        description="Checks annotations and image files of a dataset in any format, counts its "
        "objects and compares their sizes with a model's anchors. Nothing is changed; --fix "
        "writes a cleaned copy of the annotations.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument(
        "--model",
        metavar="PRESET",
        default=DEFAULT_MODEL,
        help="compare box sizes with this preset's anchors; 'none' leaves that out "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--decode",
        action="store_true",
        help="decode every picture; otherwise damage in the middle of a file goes unnoticed",
    )
    parser.add_argument(
        "--fix", metavar="DST", type=Path, help="write a cleaned copy, a COCO JSON file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write everything found to a JSON file"
    )


def run(args: argparse.Namespace) -> int:
    """Checks, prints the report and writes what was asked for."""
    _require_target(args)
    from kmrcnn.config.loader import load_preset

    model = None if args.model == "none" else load_preset(args.model).model
    from kmrcnn.cli.quiet import import_quietly

    import_quietly()
    from kmrcnn.data.check.doctor import examine
    from kmrcnn.data.check.report import report

    found = examine(
        args.src,
        args.images,
        model=model,
        decode=args.decode,
        progress=True,
        format=args.source_format,
        split=args.split,
        class_names=args.class_names,
    )
    print(report(found, args.model))
    if args.json is not None:
        _write_json(found, args.json)
    if args.fix is not None:
        _write_fixed(found, args.fix)
    return 1 if found.faults else 0


def _require_target(args: argparse.Namespace) -> None:
    """Refuses a DST that would replace something, before the work begins."""
    if args.fix is None:
        return
    if args.fix.suffix.lower() != ".json":
        raise ValueError(f"DST must end in .json. Received: {str(args.fix)!r}")
    if args.fix.resolve() == Path(args.src).resolve():
        raise ValueError(f"DST is SRC, {args.src!r}, which is never changed.")
    if args.fix.exists() and not args.overwrite:
        raise ValueError(f"{str(args.fix)!r} exists; --overwrite replaces it.")


def _write_json(found: Examination, path: Path) -> None:
    from kmrcnn.data.files import written_aside

    with written_aside(path) as aside:
        aside.write_text(json.dumps(found.to_dict(), indent=1), encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def _write_fixed(found: Examination, path: Path) -> None:
    from kmrcnn.data.check.kinds import describe
    from kmrcnn.data.check.repair import repair

    mended = repair(found)
    mended.write(path)
    counts = found.statistics
    print(
        f"\nwritten: {path} with {len(mended.document['images'])} of {counts.num_images} images "
        f"and {len(mended.document['annotations'])} of {counts.num_instances} objects"
    )
    for kind, number in mended.done.most_common():
        if number:
            about = describe(kind)
            print(f"  {number} {about.title}: {about.remedy}")
    print(f"read it with: kmrcnn data check {path} --images {mended.images}")
