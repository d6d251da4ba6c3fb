"""Two devices and two workers train as one does; a killed worker's run goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.train.distribution import Worker, make_strategy, this_worker
from tests.conftest import ROOT


def start(module: str, *arguments, **variables) -> subprocess.Popen:
    command = [sys.executable, "-m", f"tests.train.{module}", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, **pipes)


def finish(process: subprocess.Popen, expected: int = 0) -> str:
    """Waits for the end; what was printed."""
    try:
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    assert process.returncode == expected, output[-3000:]
    return output


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group_norm", "sync_batch_norm"])
def test_two_devices_give_the_weights_of_one(tmp_path, norm):
    finish(start("run_on_two_devices", tmp_path / "weights.npz", norm))
    results = np.load(tmp_path / "weights.npz")
    moved = 0.0
    for name in (n.partition(":")[2] for n in results if n.startswith("one_device:")):
        one, two = results[f"one_device:{name}"], results[f"mirrored:{name}"]
        np.testing.assert_allclose(two, one, atol=1e-5, err_msg=name)
        if name.endswith("bias"):
            moved = max(moved, np.abs(one).max())  # biases start at 0
    assert moved > 1e-3  # a hundred times the tolerance


def workers(folder: Path, *options) -> list[subprocess.Popen]:
    """Two workers on this machine."""
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1], other.getsockname()[1]]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        given = [option for option in options if option != "kill" or index == 1]
        file = folder / f"worker{index}.npz"
        processes.append(
            start("run_worker", folder / "run", file, *given, TF_CONFIG=json.dumps(task))
        )
    return processes


@pytest.mark.slow
def test_two_workers_train_as_one_process_and_survive_a_kill(tmp_path):
    chief, killed = workers(tmp_path, "kill")
    finish(killed, -signal.SIGKILL)
    assert "WorkerLostError" in finish(chief, 1)

    for process in workers(tmp_path, "resume"):
        finish(process)
    first, second = (np.load(tmp_path / f"worker{index}.npz") for index in range(2))
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)

    alone = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    finish(start("run_worker", tmp_path / "alone", tmp_path / "alone.npz", **alone))
    one = np.load(tmp_path / "alone.npz")
    for name in one:
        np.testing.assert_allclose(first[name], one[name], atol=1e-4, err_msg=name)


CLUSTER = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    "config,worker",
    [
        (None, Worker(0, 1)),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 1}}, Worker(1, 2)),
    ],
)
def test_tf_config_says_which_worker_this_is(monkeypatch, config, worker):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert this_worker() == worker
    assert this_worker().is_chief == (worker.index == 0)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"cluster": {}}',
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}),
        json.dumps({"cluster": CLUSTER | {"ps": ["c:3"]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        this_worker()


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy("one_device") is None
    with pytest.raises(ValueError, match="multi_worker"):
        make_strategy("several")
