"""The command `kmrcnn`, or `python -m kmrcnn.cli`: one verb per module beside this one.

A verb is a module with `add_parser(subparsers)` and `run(args) -> int`. What it needs beyond
argparse it imports in `run`, so that help comes at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from kmrcnn import __version__

VERBS = (
    "predict",
    "train",
    "evaluate",
    "export",
    "data",
    "convert",
    "info",
    "presets",
    "reproduce",
)
EXPECTED_ERRORS = (ValueError, OSError, ImportError)  # the user can do something about these
_EPILOG = """\
examples:
  kmrcnn predict photos/ --output predictions
  kmrcnn predict street.jpg --model maskrcnn_resnet50_fpn
  kmrcnn presets
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: Arguments after the program's name; None takes those of the process.

    Returns:
        Exit code: 0 all went well, 1 part of the work failed, 2 wrong usage or nothing could be
        done.
    """
    modules = {verb: importlib.import_module(f"kmrcnn.cli.{verb}") for verb in VERBS}
    args = _parser(modules).parse_args(argv)
    if not args.debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return modules[args.verb].run(args)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("kmrcnn: interrupted", file=sys.stderr)
        return 130
    except EXPECTED_ERRORS as error:
        if args.debug:
            traceback.print_exc()
        else:
            print(f"kmrcnn {args.verb}: {_one_line(error)}", file=sys.stderr)
        return 2


def _parser(modules: dict) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kmrcnn",
        description="Mask R-CNN for TensorFlow and Keras 3.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kmrcnn {__version__}")
    debug = {"action": "store_true", "help": "show the traceback of an error"}
    parser.add_argument("--debug", **debug)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, module in modules.items():
        module.add_parser(subparsers)
        subparsers.choices[verb].add_argument("--debug", **debug, default=argparse.SUPPRESS)
    return parser


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
