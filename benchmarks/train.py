"""How long a training step takes, how much memory it needs, how torchvision compares, and what two
devices give.

    python benchmarks/train.py --peer PATH/TO/PYTHON/WITH/TORCHVISION --json result.json

A step is the forward and backward pass and the update (SGD with momentum, float32, stem and res2
frozen) on two pictures with eight objects each. The weights are those of `predict.py`: random,
calibrated so that there are as many proposals as in practice. "foreground" says how many RoIs the
mask branch saw. Repetitions in which other processes used the cores are not counted; "clean" says
how many were counted.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from predict import HEADER, ROW, answer, interleave, machine, prepare

BATCH = 2
OBJECTS = 8


def main():
    args = _parse()
    result = {"settings": vars(args), "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args)
        _prepare_targets(Path(folder))
        threads = str(args.threads)
        answer([sys.executable, "network.py", "calibrate", folder, threads])
        ours = [sys.executable, "training_step.py", folder]
        workers = {"kmrcnn": [*ours, threads, "1"]}
        if args.peer:
            model = [folder, threads, args.preset, str(args.detections)]
            answer([args.peer, "peer_torchvision.py", "calibrate", *model])
            workers["torchvision"] = [args.peer, "peer_torchvision_train.py", *model]
        result["total"] = interleave(workers, args.repeats)
        result["devices"] = {
            name: interleave({name: [*ours, *options]}, args.repeats)[name]
            for name, options in {
                "1 device, 1 thread": ("1", "1"),
                f"1 device, {threads} threads": (threads, "1"),
                f"2 devices, {threads} threads": (threads, "2"),
            }.items()
        }
    _print(**result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


def _parse():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--preset", default="maskrcnn_resnet50_fpn")
    parser.add_argument("--size", default="480x640", metavar="HxW")
    parser.add_argument("--detections", default=100, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has torchvision")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def _prepare_targets(folder):
    """Boxes of all sizes with elliptic masks, the same for both pictures."""
    height, width = np.load(folder / "photo.npy").shape[:2]
    rng = np.random.default_rng(0)
    sides = np.geomspace(0.08, 0.7, OBJECTS)[:, None] * (width, height)
    corners = rng.uniform(size=(OBJECTS, 2)) * ((width, height) - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    y, x = np.mgrid[:height, :width] + 0.5
    away = [((x - c[0]) / s[0]) ** 2 + ((y - c[1]) / s[1]) ** 2 for c, s in zip(centres, sides / 2)]
    np.savez(folder / "targets.npz", boxes=boxes, masks=np.array(away) < 1)


def _print(settings, machine, total, devices):
    for facts in (settings, machine):
        print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    print(f"{HEADER}{'peak MiB':>10}{'foreground':>12}")
    for name, row in total.items():
        print(ROW.format(name, **row) + f"{row['peak_mib']:10}{row['foreground']:12}")
    for name, row in list(total.items())[1:]:
        print(f"kmrcnn / {name}: {total['kmrcnn']['median'] / row['median']:.2f} of the median")
    print(f"{HEADER}{'pictures/s':>12}")
    for name, row in devices.items():
        print(ROW.format(name, **row) + f"{BATCH / row['median']:12.2f}")


if __name__ == "__main__":
    main()
