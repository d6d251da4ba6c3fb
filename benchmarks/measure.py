"""Repetitions on a machine that others use too: each says how much of the cores they took.

Standard library only; the workers of `predict.py` share it.
"""

import json
import os
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
    """Waits for a quiet moment, three seconds at most, and runs `work`; seconds are of one call."""
    for _ in range(12):
        clock = _clock()
        time.sleep(0.25)
        if _since(clock)[2] < FOREIGN:
            break
    clock = _clock()
    for _ in range(calls):
        work()
    wall, cpu, foreign = _since(clock)
    return {"wall": wall / calls, "cpu": cpu / calls, "foreign": foreign, "peak_mib": memory()[0]}


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


def serve(work, **ready):
    """Says that all is ready, then answers each line of stdin with one repetition."""
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        print(json.dumps(repetition(work)), flush=True)


def wants_more(log, repeats):
    return len(log) < TRIES * repeats and len(_clean(log)) < repeats


def summary(log):
    """Of the clean repetitions; of all, which "clean": 0 tells, if there is none."""
    used = _clean(log) or log
    wall, cpu = ([result[name] for result in used] for name in ("wall", "cpu"))
    times = {"min": min(wall), "median": statistics.median(wall), "cpu": statistics.median(cpu)}
    peak = max(result["peak_mib"] for result in log)
    return times | {"clean": len(_clean(log)), "tried": len(log), "peak_mib": peak}


def memory():
    """Resident MiB of this process: the most so far, and now."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return [int(fields[name].split()[0]) // 1024 for name in ("VmHWM", "VmRSS")]


def _clean(log):
    return [result for result in log if result["foreign"] < FOREIGN]


def _clock():
    """Seconds: wall, busy of all cores together, CPU of this process."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, *others = map(int, stat.readline().split()[1:9])
    busy = (user + nice + system + sum(others)) / TICKS  # others: interrupts and stolen time
    return time.perf_counter(), busy, time.process_time()


def _since(clock):
    """Wall seconds, own CPU seconds, share of the cores that others used."""
    wall, busy, own = (now - then for now, then in zip(_clock(), clock))
    return wall, own, max(0.0, (busy - own) / (CORES * wall))
