"""Repetitions on a machine that others use too: each says how much of the cores they took.

Standard library only; the workers of `predict.py` and `peer_torchvision.py` share it.
"""

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # kmrcnn of this checkout
CORES = os.cpu_count()
TICKS = os.sysconf("SC_CLK_TCK")  # /proc/stat counts in these
FOREIGN = 0.08  # share of all cores that other processes may use in a repetition that counts
TRIES = 4  # so many times the repetitions that are wanted, for want of quiet
SHORTEST = 0.2  # seconds; faster work is called several times in one repetition


def repetition(work, calls=1):
    """Runs `work` once a quiet moment has come.

    Returns {"wall", "cpu": seconds of one call, all threads together, "foreign": share of the cores
    that other processes used, "peak_rss_mb": of this process so far}.
    """
    wait_until_quiet()
    busy, own, start = _busy_seconds(), _own_seconds(), time.perf_counter()
    for _ in range(calls):
        work()
    wall, cpu = time.perf_counter() - start, _own_seconds() - own
    foreign = max(0.0, (_busy_seconds() - busy - cpu) / (CORES * wall))
    result = {"wall": wall / calls, "cpu": cpu / calls, "foreign": foreign}
    return result | {"peak_rss_mb": memory()["peak"]}


def wait_until_quiet(patience=10.0):
    """Returns when others have left the cores alone for a quarter of a second, or in the end."""
    end = time.perf_counter() + patience
    while time.perf_counter() < end:
        busy, own, start = _busy_seconds(), _own_seconds(), time.perf_counter()
        time.sleep(0.25)
        used = _busy_seconds() - busy - (_own_seconds() - own)
        if used < FOREIGN * CORES * (time.perf_counter() - start):
            return


def repeat(work, repeats):
    """Repetitions until enough of them are clean."""
    work()
    start = time.perf_counter()
    work()
    calls = max(1, round(SHORTEST / (time.perf_counter() - start)))
    log = []
    while wants_more(log, repeats):
        log.append(repetition(work, calls))
    return log


def wants_more(log, repeats):
    return len(log) < TRIES * repeats and sum(map(is_clean, log)) < repeats


def is_clean(result):
    return result["foreign"] < FOREIGN


def summary(log):
    """Of the clean repetitions; of all, said by "clean": 0, if there is none."""
    used = [result for result in log if is_clean(result)] or log
    return {
        "min": min(result["wall"] for result in used),
        "median": statistics.median(result["wall"] for result in used),
        "cpu": statistics.median(result["cpu"] for result in used),
        "clean": sum(map(is_clean, log)),
        "tried": len(log),
        "peak_rss_mb": max(result["peak_rss_mb"] for result in log),
    }


def serve(work, **ready):
    """Says that all is ready, then answers each line of stdin with one repetition."""
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        print(json.dumps(repetition(work)), flush=True)


def memory():
    """{"peak", "anonymous", "files"}: resident MB of this process."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    names = {"peak": "VmHWM", "anonymous": "RssAnon", "files": "RssFile"}
    return {name: int(fields[field].split()[0]) // 1024 for name, field in names.items()}


def _busy_seconds():
    """Of all cores since the machine started: user, nice, system, interrupts, stolen."""
    with open("/proc/stat") as stat:
        values = [int(value) for value in stat.readline().split()[1:9]]
    return (sum(values) - values[3] - values[4]) / TICKS  # without idle and waiting for disks


def _own_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
