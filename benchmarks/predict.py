"""How long a prediction takes, by stage, how much memory it needs, and how torchvision compares.

    python benchmarks/predict.py --peer PATH/TO/PYTHON/WITH/TORCHVISION --json result.json

The photograph (skimage's `coffee`) is given to the network at the size asked for. The weights are
random, calibrated so that there are 1000 proposals and 100 detections. Repetitions in which other
processes used the cores are not counted; "clean" says how many were counted.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np

HERE = Path(__file__).resolve().parent
HEADER = f"\n{'':30}{'min s':>9}{'median s':>9}{'CPU s':>9}{'clean':>9}"
ROW = "{:30}{min:9.3f}{median:9.3f}{cpu:9.3f}{clean:7}/{tried}"


def main():
    args = _parse()
    result = {"settings": vars(args), "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args)
        common = [folder, str(args.threads)]
        ours = [sys.executable, "network.py"]
        result["calibrated"] = {"kmrcnn": answer([*ours, "calibrate", *common])}
        workers = {"kmrcnn": [*ours, "total", *common]}
        if args.peer:
            peer = [args.peer, "peer_torchvision.py"]
            model = [*common, args.preset, str(args.detections)]
            result["calibrated"]["torchvision"] = answer([*peer, "calibrate", *model])
            workers["torchvision"] = [*peer, "total", *model]
            workers["torchvision, channels_last"] = [*peer, "channels_last", *model]
        result["total"] = interleave(workers, args.repeats)
        result["stages"] = answer([*ours, "stages", *common, str(args.repeats)])
    _print(**result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


def _parse():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--preset", default="maskrcnn_resnet50_fpn")
    parser.add_argument("--size", default="800x1066", metavar="HxW")
    parser.add_argument("--detections", default=100, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--repeats", default=7, type=int)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has torchvision")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def prepare(folder, args):
    """The photograph, and the preset with an input size that leaves it as it is."""
    from skimage import data, transform

    from kmrcnn.config.loader import dump, load_preset

    size = tuple(map(int, args.size.split("x")))
    photo = transform.resize(data.coffee(), size, order=1, preserve_range=True)
    np.save(folder / "photo.npy", np.round(photo).astype(np.uint8))
    sides = [f"model.input.short_side={min(size)}", f"model.input.long_side={max(size)}"]
    overrides = [*sides, f"model.box.max_detections={args.detections}"]
    (folder / "model.yaml").write_text(dump(load_preset(args.preset, overrides)))


def machine():
    with open("/proc/cpuinfo") as cpus:
        models = {line.split(":")[1].strip() for line in cpus if line.startswith("model name")}
    names = ("tensorflow", "keras", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return versions | {"python": sys.version.split()[0], "cpu": ", ".join(models)}


def _start(command, **options):
    command = [command[0], HERE / command[1], *command[2:]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def answer(command):
    """What a worker prints last."""
    process = _start(command)
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{command[1]} {command[2]} failed with exit code {process.returncode}")
    return json.loads(out.splitlines()[-1])


def interleave(commands, repeats):
    """A repetition of each in turn, so that all see the same machine."""
    workers = {name: _start(command, stdin=subprocess.PIPE) for name, command in commands.items()}
    facts = {name: json.loads(worker.stdout.readline()) for name, worker in workers.items()}
    log = {name: [] for name in workers}
    while any(measure.wants_more(one, repeats) for one in log.values()):
        for name, worker in workers.items():
            print(file=worker.stdin, flush=True)
            log[name].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return {name: measure.summary(log[name]) | facts[name] for name in workers}


def _print(settings, machine, calibrated, total, stages):
    for facts in (settings, machine, calibrated):
        print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    print(f"{HEADER}{'peak MiB':>10}{'import s':>10}{'load s':>8}")
    for name, row in total.items():
        more = f"{row['peak_mib']:10}{row['import_s']:10.2f}{row['load_s']:8.2f}"
        print(ROW.format(name, **row) + more)
    for name, row in list(total.items())[1:]:
        print(f"kmrcnn / {name}: {total['kmrcnn']['median'] / row['median']:.2f} of the median")
    print(HEADER)
    for name, row in stages.items():
        print(ROW.format(name, **row))
    whole = sum(row["median"] for name, row in stages.items() if "," not in name)
    print(f"sum of the medians without those of few detections: {whole:.3f} s")


if __name__ == "__main__":
    main()
