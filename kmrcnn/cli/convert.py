"""`kmrcnn convert`: a published weight file, or one of Matterport's Mask R-CNN -> a Keras file."""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

_SUFFIXES = (".keras", ".weights.h5")
_EPILOG = """\
examples:
  kmrcnn convert model_final_f10217.pkl r50.keras --model mask_rcnn_R_50_FPN_3x
  kmrcnn convert coco mine.weights.h5 --model maskrcnn_resnet50_fpn --class-names person helmet
  kmrcnn convert mask_rcnn_balloon_0030.h5 balloon.keras --model matterport_coco \\
      --matterport-config balloon.py --class-names balloon
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = subparsers.add_parser(
        "convert",
        help="convert PyTorch, Detectron2 or Matterport weights to a Keras file",
        description="Reads torchvision's .pth, Detectron2's .pkl, the .h5 of Matterport's Mask "
        "R-CNN or our own weights and writes a whole model (.keras) or its weights only "
        "(.weights.h5). Needs no PyTorch. Of a Matterport file classes, backbone and widths are "
        "those of the file itself.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("src", metavar="SRC", help="weight file, or a checkpoint such as coco")
    parser.add_argument("dst", metavar="DST", type=Path, help="NAME.keras or NAME.weights.h5")
    parser.add_argument("--model", required=True, metavar="PRESET", help="preset of the model")
    parser.add_argument("--num-classes", type=int, metavar="N", help="foreground classes of DST")
    parser.add_argument("--class-names", nargs="+", metavar="NAME", help="their names, in order")
    parser.add_argument(
        "--matterport-config",
        type=Path,
        metavar="FILE",
        help="the Config class SRC was used with: JSON of its attributes, or the Python file, "
        "which is read and not run",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")


def run(args: argparse.Namespace) -> int:
    """Converts and prints what became of the weights."""
    print(_convert(args))
    return 0


def _convert(args: argparse.Namespace) -> str:
    suffix = next((s for s in _SUFFIXES if args.dst.name.endswith(s)), None)
    if suffix is None:
        raise ValueError(f"DST must end in {' or '.join(_SUFFIXES)}. Received: {str(args.dst)!r}")
    if args.dst.exists() and not args.overwrite:
        raise ValueError(f"{str(args.dst)!r} exists; --overwrite replaces it.")
    if not args.dst.absolute().parent.is_dir():
        raise ValueError(f"The folder of {str(args.dst)!r} does not exist.")
    from kmrcnn.config.loader import load_preset
    from kmrcnn.models import zoo

    preset = load_preset(args.model)
    zoo.require_weights(args.src, preset)
    from kmrcnn.cli.quiet import import_quietly

    import_quietly()
    from kmrcnn.models.build import build_model

    preset = _of_matterport_file(preset, args.src, args.matterport_config)
    model = build_model(zoo.preset_config(preset, args.num_classes, args.class_names))
    report = zoo.load_checkpoint(model, preset, args.src)
    _write(model, args.dst, suffix)
    return f"{report}\nwritten: {args.dst} ({args.dst.stat().st_size / 2**20:.1f} MiB)"


def _of_matterport_file(preset: Any, src: str, settings: Path | None) -> Any:
    """The preset with the model that a Matterport file asks for; of other files as it is."""
    from kmrcnn.models import zoo
    from kmrcnn.weights.keras2_file import is_keras2_file, read_keras2_file
    from kmrcnn.weights.matterport_config import matterport_config, read_settings

    checkpoint = preset.checkpoints.get(src)
    path = Path(src)
    if checkpoint is not None and checkpoint.format == "matterport":
        path = zoo.checkpoint_path(checkpoint)
    if not path.is_file() or not is_keras2_file(path):
        if settings is not None:
            raise ValueError(f"--matterport-config goes with a Matterport .h5. SRC is {src!r}.")
        return preset
    attributes = {} if settings is None else read_settings(settings)
    config = matterport_config(preset.model, read_keras2_file(path), attributes)
    return dataclasses.replace(preset, model=config)


def _write(model: Any, path: Path, suffix: str) -> None:
    """Writes beside `path` first, so that it never holds half a file."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".kmrcnn-") as folder:
        aside = Path(folder) / f"model{suffix}"
        model.save(aside) if suffix == ".keras" else model.save_weights(aside)
        os.replace(aside, path)
