"""RoIAlign's CUDA kernels: are their values right, how long do they take, how good is that?

    python benchmarks/roi_align_gpu.py --json result.json
    python benchmarks/roi_align_gpu.py --emulate     # tries the script without a GPU; times nothing

Needs nvcc and torch, and torchvision to compare with; neither TensorFlow nor an installed kmrcnn.
Four levels from 200x304, 256 channels, boxes with sides log-uniform from 12 to 700 pixels, aligned.

Values are compared with those of the CPU kernels and of torchvision in float32, on features and
gradients rounded to the dtype. "floor": how long the bytes that must be moved take at the rate of a
copy within the device, measured in the same run, or at that of the L2 cache, whichever is longer.
The exit code is 1 if a value is wrong; it does not tell of speed.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import roi_align_traffic
from roi_align_case import STRIDES, Case, measure
from roi_align_devices import Emulation, Gpu, Torchvision

OPS = Path(__file__).resolve().parent.parent / "custom_ops"
SHAPES = ((1000, 7, 1), (100, 14, 1), (4096, 7, 8), (512, 14, 8))  # RoIs, bins, images
CASES = [Case(*shape, ratio) for shape in SHAPES for ratio in (2, 0)]
SMALL = [Case(8, 7, 2, ratio, 8, ((40, 56), (20, 28), (10, 14), (5, 7))) for ratio in (2, 0)]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
BACKWARDS = ("fast backward", "deterministic backward")
FORWARD_BAR, BACKWARD_BAR, FLOOR_BAR = 1.5, 2.0, 0.5
HEADER = "forward    fast  determ. | torchvision: fwd     bwd | floor: fwd     bwd | share   GB/s"


def main():
    args = _parse()
    os.environ.setdefault("KMRCNN_CUDA", "require")
    device = Emulation() if args.emulate else Gpu()
    kernels = _load("roi_align/kernels")
    library = kernels.load(_load("build").find_or_build(device.library, args.folder))
    peer = _find_peer()
    settings = {
        "device": device.name,
        "peer": peer.name if peer else "no torchvision",
        "copy GB/s": device.copy_rate() / 1e9,
        "L2 GB/s, assumed": args.l2_rate,
    }
    print(", ".join(f"{key}: {value}" for key, value in settings.items()))
    rows = []
    for case in SMALL if args.emulate or args.small else CASES:
        rows += _run(case, device, kernels, library, peer, settings)
    bars = _judge(rows)
    print("\nemulated, so the times mean nothing" if args.emulate else "")
    print("\n".join(bars))
    if args.json:
        result = {"settings": settings, "rows": [asdict(row) for row in rows], "bars": bars}
        args.json.write_text(json.dumps(result, indent=1))
    wrong = [f"{_title(row)}: {what}" for row in rows for what in row.wrong]
    print("\n".join(["WRONG VALUES", *wrong]) if wrong else "all values are right")
    sys.exit(bool(wrong))


def _parse():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--emulate", action="store_true", help="on the CPU; NumPy suffices")
    parser.add_argument("--small", action="store_true", help="small cases, for compute-sanitizer")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--l2-rate", type=float, default=4000, metavar="GB/S")
    folder = Path(tempfile.gettempdir()) / "kmrcnn-benchmark"
    parser.add_argument("--folder", type=Path, default=folder, help="where the library is built")
    return parser.parse_args()


def _load(name):
    """A module of custom_ops by its path: the package would import TensorFlow."""
    path = OPS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _find_peer():
    try:
        return Torchvision()
    except ImportError:
        return None


def _run(case, device, kernels, library, peer, settings):
    """A `Row` for each dtype, printed as soon as it is there."""
    data = case.draw()
    boxes, indices, levels = data[1:4]
    traffic = roi_align_traffic.count(
        boxes, indices, levels, case.sizes, STRIDES, case.bins, case.ratio, case.batch
    )
    print(f"\n{case}\n{traffic}\n{'us':10}{HEADER}")
    rows = []
    for dtype in device.dtypes:
        row = measure(device, kernels, library, peer, case, data, dtype)
        vector_bytes = BYTES[dtype] * case.channels
        row.floors = _floors(traffic, vector_bytes, settings)
        _print(row, traffic.forward_bytes(vector_bytes))
        rows.append(row)
    return rows


def _floors(traffic, vector_bytes, settings):
    copy_rate, l2_rate = (settings[name] * 1e9 for name in ("copy GB/s", "L2 GB/s, assumed"))
    return {
        "forward": traffic.forward_floor(vector_bytes, copy_rate, l2_rate),
        "backward": traffic.backward_floor(vector_bytes, copy_rate),
    }


def _print(row, moved):
    """`moved`: bytes that the forward must move through the L2 cache."""
    micro = [1e6 * seconds for seconds in row.times.values()]
    peer = [1e6 * row.peer.get(name, float("nan")) for name in ("forward", "backward")]
    floors = [1e6 * row.floors[name] for name in ("forward", "backward")]
    share = row.floors["forward"] / row.times["forward"]
    print(
        f"{row.dtype:9}{micro[0]:8.0f}{micro[1]:8.0f}{micro[2]:9.0f}",
        f"{peer[0]:16.0f}{peer[1]:8.0f}",
        f"{floors[0]:10.0f}{floors[1]:8.0f}",
        f"{share:5.0%}{moved / row.times['forward'] / 1e9:7.0f}",
        sep=" | ",
    )
    print(" " * 9 + "largest differences: " + ", ".join(f"{e:.0e}" for e in row.errors.values()))
    for what in row.wrong:
        print(f"         WRONG: {what}", flush=True)


def _judge(rows):
    """A sentence a bar, with the worst figure."""
    compared = [row for row in rows if row.peer]
    name = "times torchvision's speed"
    bars = [
        _bar(
            f"forward at least {FORWARD_BAR} {name}",
            FORWARD_BAR,
            {_title(row): row.peer["forward"] / row.times["forward"] for row in compared},
        ),
        _bar(
            f"forward at least {FLOOR_BAR} of its floor's speed",
            FLOOR_BAR,
            {_title(row): row.floors["forward"] / row.times["forward"] for row in rows},
        ),
    ]
    for backward in BACKWARDS:
        ratios = {_title(row): row.peer["backward"] / row.times[backward] for row in compared}
        bars.append(_bar(f"{backward} at least {BACKWARD_BAR} {name}", BACKWARD_BAR, ratios))
    return bars


def _title(row):
    return f"{row.case}, {row.dtype}"


def _bar(text, least, figures):
    if not figures:
        return f"NOT MEASURED  {text}"
    worst = min(figures, key=figures.get)
    met = sum(figure >= least for figure in figures.values())
    verdict = "MET          " if met == len(figures) else "NOT MET      "
    counts = f"{met} of {len(figures)}"
    return f"{verdict} {text}: {counts}; least {figures[worst]:.2f} ({worst})"


if __name__ == "__main__":
    main()
