"""`kmrcnn reproduce`: the rows of a table of the paper, trained, measured and printed beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
Without TABLE the tables are listed. DIR is laid out as COCO is published
(annotations/instances_train2017.json, train2017/, ...), for table7 as Cityscapes. The rows are the
configurations `paper_*`, which `kmrcnn train` trains one by one. They begin with a backbone trained
on ImageNet, a .pth of torchvision's.

With --mini a small network learns for minutes from generated scenes, or from a DIR with
annotations/instances_train.json and instances_val.json. Its figures are not the paper's; their
order can be compared.

OUTPUT keeps the figures of finished rows, which are not run again; an interrupted row goes on after
its last whole epoch.

examples:
  kmrcnn reproduce table2b --mini
  kmrcnn reproduce table2c --mini --seeds 5 --output mini
  kmrcnn reproduce table2b --data coco --output runs --set weights=resnet50-0676ba61.pth
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = subparsers.add_parser(
        "reproduce",
        help="train and measure the rows of one of the paper's tables",
        description="Trains and measures the rows of one of the paper's tables, and prints the "
        "results beside its numbers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", metavar="TABLE", help="such as table2b")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--mini", action="store_true", help="the scaled-down version")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="runs of each row (default: 1; with --mini 3)"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="NAME", help="only these rows, by their names in the table"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("reproduce"),
        metavar="DIR",
        help="gets models and figures (default: reproduce)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="A.B=C",
        help="change a setting of all rows, such as train.batch_size=8; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Runs what is not done yet and prints the table; without one, lists them."""
    from kmrcnn.reproduce.tables import list_tables, load_table

    if args.table is None:
        for table in map(load_table, list_tables()):
            print(f"{table.name:15}{table.title}{', also --mini' if table.mini else ''}")
        return 0
    table = load_table(args.table)
    from kmrcnn.cli.quiet import import_quietly

    import_quietly()
    from kmrcnn.reproduce.report import format_results
    from kmrcnn.reproduce.reproduce import reproduce

    results = reproduce(
        table,
        args.data,
        args.output,
        mini=args.mini,
        seeds=(3 if args.mini else 1) if args.seeds is None else args.seeds,
        rows=args.rows,
        overrides=args.overrides,
        progress=not args.quiet,
    )
    print(format_results(table, results, args.mini))
    return 0
