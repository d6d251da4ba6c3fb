"""How many pictures per second the training pipeline makes, by workers, transform and stage.

    python benchmarks/data.py --source ../shared/data/nuclei/annotations/instances_train.json \
        --images ../shared/data/nuclei/train/images --short-side 256 --long-side 512 \
        --train-rate 0.5 --json result.json

Without --source, pictures are synthetic scenes, drawn once and kept in memory. --train-rate is what
a training step consumes, in pictures per second; "times" says how often the pipeline covers it.
"others" is the share of the cores that other processes took meanwhile. Transforms are measured with
as many workers as the largest number of --workers, each with the flip that is on by default.
"""

import argparse
import itertools
import json
import os
import time
from pathlib import Path

import measure

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HEADER = f"\n{'':34}{'images/s':>10}{'ms/image':>10}{'times':>8}{'others':>8}"


def main():
    args = _parse()
    dataset, frame = _dataset(args), _frame(args)
    print(", ".join(f"{name} {value}" for name, value in vars(args).items() if value))
    print(f"{len(dataset)} pictures, {measure.CORES} cores\n{HEADER}")
    result = {"settings": vars(args), "cores": measure.CORES, "rows": []}
    for name, config in _configs(args).items():
        rate, others = _rate(dataset, frame, config, args)
        times = rate / args.train_rate if args.train_rate else None
        result["rows"].append(
            {"name": name, "images_per_s": rate, "times": times, "others": others}
        )
        covered = f"{times:8.1f}" if times else " " * 8
        print(f"{name:34}{rate:10.1f}{1000 / rate:10.2f}{covered}{others:8.0%}", flush=True)
    result["stages_ms"] = _stages(dataset, frame, args)
    print(f"\n{'one picture, one thread':34}{'ms':>10}")
    for name, value in result["stages_ms"].items():
        print(f"{name:34}{value:10.2f}")
    print(f"peak memory {measure.memory()[0]} MiB")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


def _parse():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--source", help="annotations, as `open_dataset` takes them")
    parser.add_argument("--images", help="folder of the pictures")
    parser.add_argument("--short-side", default=800, type=int)
    parser.add_argument("--long-side", default=1333, type=int)
    parser.add_argument("--resize", default="bilinear", help="bilinear or antialiased_uint8")
    parser.add_argument("--batch-size", default=2, type=int)
    parser.add_argument("--workers", default="1,2,4", help="numbers of threads to compare")
    parser.add_argument("--seconds", default=4.0, type=float, help="of each row")
    parser.add_argument("--train-rate", default=0.0, type=float, metavar="IMAGES/S")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def _dataset(args):
    if args.source:
        from kmrcnn.data.datasets import open_dataset

        return open_dataset(args.source, args.images)
    from kmrcnn.data.datasets.synthetic import SyntheticScenes

    return list(SyntheticScenes(16, (480, 640), empty_fraction=0.0))


def _frame(args):
    from kmrcnn.config.schema import InputConfig

    return InputConfig(short_side=args.short_side, long_side=args.long_side, resize=args.resize)


def _configs(args):
    """{name: DataConfig}: by workers with the default augmentation, then by transform."""
    from kmrcnn.config.data_schema import ColorConfig, DataConfig, ScaleJitterConfig

    workers = [int(number) for number in args.workers.split(",")]
    by_workers = {f"flip, {n} worker(s)": DataConfig(workers=n) for n in workers}
    size = (args.short_side, args.short_side)
    color = ColorConfig(1.0, 0.4, 0.4, 0.4, 0.1)
    transforms = {
        "nothing": {"horizontal_flip": 0.0},
        "vertical flip": {"vertical_flip": 1.0},
        "quarter turn": {"quarter_turn": 1.0},
        "rotation": {"rotation": 0.5},
        "crop, relative range": {"crop": "relative_range"},
        "crop, IoU": {"crop": "iou"},
        "color jitter": {"color": color},
        "scale jitter": {"scale_jitter": ScaleJitterConfig(size)},
        "copy-paste": {"copy_paste": 1.0},
        "scale jitter, copy-paste, color": {
            "scale_jitter": ScaleJitterConfig(size),
            "copy_paste": 1.0,
            "color": color,
        },
    }
    most = max(workers)
    return by_workers | {
        name: DataConfig(workers=most, **settings) for name, settings in transforms.items()
    }


def _rate(dataset, frame, config, args):
    """Pictures per second, after the first batches, and the share of the cores others took."""
    from kmrcnn.data.pipeline import make_pipeline

    batches = iter(
        make_pipeline(
            dataset, frame, config, batch_size=args.batch_size, training=True, epochs=None
        )
    )
    rates = []

    def consume():
        for _ in range(config.prefetch + config.workers):  # what was made while we waited
            next(batches)
        start, number = time.perf_counter(), 0
        while time.perf_counter() - start < args.seconds:
            next(batches)
            number += args.batch_size
        rates.append(number / (time.perf_counter() - start))

    next(batches)
    others = measure.repetition(consume)["foreign"]
    return rates[0], others


def _stages(dataset, frame, args):
    """Milliseconds of one picture in one thread, by what is done to it."""
    from kmrcnn.config.data_schema import DataConfig
    from kmrcnn.data.preprocess import network_size, to_network
    from kmrcnn.data.targets import make_targets

    slots, cells = DataConfig().slots[-1], DataConfig().mask_crop_size
    examples = [dataset[index] for index in range(min(16, len(dataset)))]
    sizes = [network_size(example.size, frame) for example in examples]
    return {
        "read the picture, decode masks": _milliseconds(
            [lambda i=i: dataset[i] for i in range(len(examples))], args.seconds / 4
        ),
        "resize the picture": _milliseconds(
            [lambda e=e: to_network(e.image, frame) for e in examples], args.seconds / 4
        ),
        "scale objects, cut masks out": _milliseconds(
            [
                lambda e=e, size=size: make_targets(e, size, cells, slots)
                for e, size in zip(examples, sizes)
            ],
            args.seconds / 4,
        ),
    }


def _milliseconds(works, seconds):
    start, number = time.perf_counter(), 0
    for work in itertools.cycle(works):
        work()
        number += 1
        if number >= len(works) and time.perf_counter() - start > seconds:
            return 1000 * (time.perf_counter() - start) / number


if __name__ == "__main__":
    main()
