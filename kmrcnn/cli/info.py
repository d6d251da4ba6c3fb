"""`kmrcnn info`: what a preset is made of, how large it is and how much it computes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

PICTURE_SIZE = (480, 640)  # whose network input is the default image size
_EPILOG = """\
Parameters are counted as PyTorch does: without the vectors of frozen batch norms and without moving
statistics. Multiply-adds are those of one image in inference, with as many proposals and detections
as the preset allows: convolutions and fully connected layers; not counted are RoIAlign's
interpolation, NMS and everything elementwise.

examples:
  kmrcnn info maskrcnn_resnet50_fpn
  kmrcnn info mask_rcnn_R_50_FPN_3x --image-size 800 1344 --num-classes 3
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = subparsers.add_parser(
        "info",
        help="show a preset's configuration, layers and cost",
        description="Print a preset's whole configuration, its layers, its parameters and its "
        "multiply-adds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("preset", metavar="PRESET", help="name of a preset, or a YAML file")
    parser.add_argument(
        "--image-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="of the network's input, before padding; default: what a picture of "
        f"{PICTURE_SIZE[0]} x {PICTURE_SIZE[1]} pixels is resized to",
    )
    parser.add_argument("--num-classes", type=int, metavar="N", help="foreground classes")


def run(args: argparse.Namespace) -> int:
    """Prints configuration, layers and parts."""
    from kmrcnn.config.loader import load_preset
    from kmrcnn.data.preprocess import canvas_size, network_size
    from kmrcnn.models.zoo import preset_config

    if args.image_size and min(args.image_size) < 1:
        raise ValueError(f"--image-size must be positive. Received: {args.image_size}")
    preset = load_preset(args.preset)
    config = preset_config(preset, args.num_classes)
    size = args.image_size or network_size(PICTURE_SIZE, config.input)
    size = canvas_size(size, config.input.pad_multiple)
    print(_configuration(args.preset, preset, config))
    from kmrcnn.cli.quiet import import_quietly

    import_quietly()
    from kmrcnn.models.build import build_model
    from kmrcnn.models.complexity import list_layers

    model = build_model(config)
    numbers = (config.rpn.post_nms_top_n, config.box.max_detections)
    layers = list_layers(model, size, *numbers)
    print(_layer_table(layers))
    print(f"\nAt {size[0]} x {size[1]} pixels, {numbers[0]} proposals, {numbers[1]} detections:\n")
    print(_part_table(model, size, *numbers))
    if config == preset.model and _is_from_torchvision(preset):
        print(_published_count(model))
    return 0


def _configuration(name: str, preset: Any, config: Any) -> str:
    """The YAML of a preset with this model; with `data` and `train` if it says how to train."""
    import dataclasses

    from kmrcnn.config.loader import dump, load_experiment, says_how_to_train

    whole = load_experiment(name) if says_how_to_train(name) else preset
    return dump(dataclasses.replace(whole, model=config))


def _layer_table(layers: Iterable) -> str:
    rows = [("LAYER", "KERNEL", "POSITIONS", "PARAMETERS", "MULTIPLY-ADDS")]
    for layer in layers:
        kernel = " x ".join(map(str, layer.kernel))
        counts = (layer.positions, layer.parameters, layer.multiply_adds)
        rows.append((layer.name, kernel, *map(_number, counts)))
    return _table(rows)


def _part_table(model: Any, size: tuple[int, int], proposals: int, detections: int) -> str:
    from kmrcnn.models.complexity import count_multiply_adds, count_parameters

    parameters = count_parameters(model)
    multiply_adds = count_multiply_adds(model, size, proposals, detections)
    rows = [("PART", "PARAMETERS", "MULTIPLY-ADDS")]
    rows += [(part, _number(n), _number(multiply_adds[part])) for part, n in parameters.items()]
    totals = (sum(parameters.values()), sum(multiply_adds.values()))
    return _table([*rows, ("total", *map(_number, totals))])


def _is_from_torchvision(preset: Any) -> bool:
    return any(checkpoint.format == "torchvision" for checkpoint in preset.checkpoints.values())


def _published_count(model: Any) -> str:
    from kmrcnn.models.complexity import count_parameters, count_unused_background

    count = sum(count_parameters(model).values()) + count_unused_background(model)
    return f"published count (with torchvision's unused background outputs): {_number(count)}"


def _number(value: int) -> str:
    return f"{value:,}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(o.rjust(w) for o, w in zip(others, widths[1:]))]
        lines.append("  ".join(cells))
    return "\n".join(lines)
