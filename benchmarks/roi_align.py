"""How long RoIAlign takes in each of its forms, how much memory, and how torchvision's compares.

    python benchmarks/roi_align.py --peer PATH/TO/PYTHON/WITH/TORCHVISION --json result.json

Four levels from 200x304, 256 channels, float32, sampling ratio 2, aligned: 1000 RoIs at 7x7 and 100
at 14x14, sides log-uniform from 12 to 700 pixels. Forward, and forward with the gradient of the
features. All take turns in one run; repetitions in which other processes used the cores are not
counted ("clean" says how many were). Process-CPU time is what to compare. "extra MiB" is the peak
of a process above what it held before its first call.
"""

import argparse
import ctypes
import json
import subprocess
import sys
from pathlib import Path

import measure
import numpy as np

LEVELS = ((200, 304), (100, 152), (50, 76), (25, 38))
STRIDES = (4, 8, 16, 32)
CHANNELS = 256
RATIO = 2
CASES = {"7x7": (1000, 7), "14x14": (100, 14)}  # RoIs, bins
PASSES = ("forward", "forward + backward")
FORMS = ("compiled", "crop_and_resize", "reference", "reference, XLA")
BARS = {  # pass -> least ratio of CPU times to ours: best other form, torchvision
    "forward": (4, 15),
    "forward + backward": (2.5, 15),
}
PEAK_BAR = 120  # MiB


def main():
    args = _parse()
    if args.role:
        return ROLES[args.role](args.form, args.threads)
    workers = {"kmrcnn": _start([sys.executable], "tensorflow", args)}
    names = list(FORMS)
    if args.peer:
        workers["torchvision"] = _start([args.peer], "torchvision", args)
        names.append("torchvision")
    results = _take_turns(workers, names, args.repeats)
    result = {"settings": vars(args), "times": results, "extra_mib": {}}
    for form in FORMS:
        result["extra_mib"][form] = {}
        for name in PASSES:
            worker = _start([sys.executable], "memory", args, f"{form}|{name}")
            answer = worker.communicate()[0].splitlines()[-1]
            result["extra_mib"][form][name] = json.loads(answer)
    _print(**result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


def _parse():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--repeats", default=7, type=int)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has torchvision")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--form", help=argparse.SUPPRESS)
    return parser.parse_args()


def draw(number):
    """Maps (1, h, w, C), boxes (N, 4) xyxy, level of each box."""
    random = np.random.default_rng(0)
    maps = [random.normal(size=(1, *size, CHANNELS)).astype("float32") for size in LEVELS]
    side = np.exp(random.uniform(np.log(12), np.log(700), number))
    shape = np.sqrt(np.exp(random.uniform(np.log(0.5), np.log(2), number)))
    height, width = np.minimum(side * shape, 799), np.minimum(side / shape, 1215)
    y, x = random.uniform(0, 800 - height), random.uniform(0, 1216 - width)
    boxes = np.stack([x, y, x + width, y + height], 1).astype("float32")
    return maps, boxes, sum((height * width >= area).astype("int64") for area in _areas())


def _areas():
    return [(224.0 * 2.0 ** (level - 4)) ** 2 for level in (3, 4, 5)]


# === workers: each answers the name of a piece of work with its time ===


def _serve_tensorflow(_, threads):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    works = {}
    for case in CASES:
        for form in FORMS:
            for name, work in _tensorflow_work(case, form).items():
                works[f"{form}|{case}|{name}"] = work
    _serve(works)


def _tensorflow_work(case, form):
    """A function for each pass, run once already."""
    import tensorflow as tf

    from kmrcnn.custom_ops import roi_align

    number, bins = CASES[case]
    maps, boxes, _ = draw(number)
    maps, boxes = [tf.constant(m) for m in maps], tf.constant(boxes)
    images = tf.zeros(number, tf.int32)
    xla = form.endswith("XLA")

    def pool(*maps):
        return roi_align(
            list(maps), boxes, images, STRIDES, bins, RATIO, True, _areas(), form=form.split(",")[0]
        )

    def pool_and_gradient(*maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = pool(*maps)
        return tape.gradient(pooled, maps, output_gradients=pooled)

    works = {}
    for name, function in zip(PASSES, (pool, pool_and_gradient)):
        graph = tf.function(function, jit_compile=xla)
        works[name] = lambda graph=graph: tf.nest.map_structure(_finish, graph(*maps))
    return works


def _finish(tensor):
    """Waits for the result without copying it."""
    tensor[:1, :1, :1, :1].numpy()


def _serve_torchvision(_, threads):
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(threads)
    works = {}
    for case, (number, bins) in CASES.items():
        maps, boxes, levels = draw(number)
        maps = [torch.from_numpy(m).permute(0, 3, 1, 2).contiguous() for m in maps]
        rois = torch.from_numpy(np.concatenate([np.zeros((number, 1), "float32"), boxes], 1))
        members = [torch.from_numpy(np.flatnonzero(levels == level)) for level in range(4)]

        def pool(maps, number=number, bins=bins, rois=rois, members=members):
            pooled = torch.zeros(number, CHANNELS, bins, bins)
            for level, index in enumerate(members):
                scale = 1 / STRIDES[level]
                pooled[index] = roi_align(maps[level], rois[index], bins, scale, RATIO, True)
            return pooled

        def forward(maps=maps, pool=pool):
            with torch.no_grad():
                pool(maps)

        def both(maps=maps, pool=pool):
            leaves = [m.detach().requires_grad_() for m in maps]
            pooled = pool(leaves)
            torch.autograd.grad(pooled, leaves, pooled.detach())

        for name, work in zip(PASSES, (forward, both)):
            works[f"torchvision|{case}|{name}"] = work
    _serve(works)


def _serve(works):
    calls = {}
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name not in calls:
            works[name]()
            seconds = measure.repetition(works[name])["wall"]
            calls[name] = max(1, round(measure.SHORTEST / seconds))
        print(json.dumps(measure.repetition(works[name], calls[name])), flush=True)


def _report_memory(form_and_pass, threads):
    """MiB that the first call holds at its peak, above what was there before."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    form, name = form_and_pass.split("|")
    global LEVELS
    levels, LEVELS = LEVELS, tuple((8, 8) for _ in LEVELS)
    case, CASES["7x7"] = CASES["7x7"], (8, 7)
    _tensorflow_work("7x7", form)[name]()  # loads all code and allocates little
    LEVELS, CASES["7x7"] = levels, case
    work = _tensorflow_work("7x7", form)[name]
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the preparations is forgotten
    before = measure.memory()[1]
    work()
    print(json.dumps(measure.memory()[0] - before))


ROLES = {
    "tensorflow": _serve_tensorflow,
    "torchvision": _serve_torchvision,
    "memory": _report_memory,
}


# === the run and its table ===


def _start(interpreter, role, args, form=""):
    options = ["--role", role, "--form", form, "--threads", str(args.threads)]
    command = [*interpreter, Path(__file__).resolve(), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _take_turns(workers, names, repeats):
    """{case: {pass: {name: summary}}}; a repetition of each in turn."""
    for worker in workers.values():
        while worker.stdout.readline().strip() != "ready":
            if worker.poll() is not None:
                sys.exit(f"a worker failed with exit code {worker.returncode}")
    results = {}
    for case in CASES:
        results[case] = {}
        for name in PASSES:
            logs = {form: [] for form in names}
            while any(measure.wants_more(log, repeats) for log in logs.values()):
                for form, log in logs.items():
                    worker = workers["torchvision" if form == "torchvision" else "kmrcnn"]
                    print(f"{form}|{case}|{name}", file=worker.stdin, flush=True)
                    log.append(json.loads(worker.stdout.readline()))
            results[case][name] = {form: measure.summary(log) for form, log in logs.items()}
            print(f"measured {case}, {name}", file=sys.stderr)
    for worker in workers.values():
        worker.communicate()
    return results


def _print(settings, times, extra_mib):
    print(f"{settings['threads']} threads; milliseconds, medians; x: CPU time over the compiled")
    for case, passes in times.items():
        for name, rows in passes.items():
            print(f"\n{case}, {name:24}{'wall':>9}{'CPU':>9}{'x':>7}{'clean':>9}{'extra MiB':>11}")
            ours = rows["compiled"]["cpu"]
            for form, row in rows.items():
                extra = extra_mib.get(form, {}).get(name, "") if case == "7x7" else ""
                print(
                    f"{form:31}{1e3 * row['median']:9.1f}{1e3 * row['cpu']:9.1f}"
                    f"{row['cpu'] / ours:7.1f}{row['clean']:7}/{row['tried']:<2}{extra:>10}"
                )
    print()
    for case, passes in times.items():
        for name, rows in passes.items():
            _print_bars(case, name, rows)
    peak = extra_mib["compiled"]["forward"]
    print(f"7x7, forward: {peak} MiB extra, bar {PEAK_BAR}: {_verdict(peak <= PEAK_BAR)}")


def _print_bars(case, name, rows):
    ours = rows["compiled"]["cpu"]
    forms = ("crop_and_resize", "reference")
    best = min(forms, key=lambda form: rows[form]["cpu"])
    for rival, bar in zip((best, "torchvision"), BARS[name]):
        if rival in rows:
            ratio = rows[rival]["cpu"] / ours
            print(f"{case}, {name}: {ratio:.1f}x {rival}, bar {bar}: {_verdict(ratio >= bar)}")


def _verdict(met):
    return "met" if met else "NOT met"


if __name__ == "__main__":
    main()
