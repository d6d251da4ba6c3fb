"""Two hundred requests from four clients at once, malformed ones among them.

The server has a process of its own, so that its memory is not mixed with the clients'. Run with
`-s`, the test prints requests per second and how the memory went.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import kmrcnn
from kmrcnn.data.images import decode_image
from tests.conftest import ROOT
from tests.export.pictures import BAD_FILES, COINS, encoded

NUM_CLIENTS, NUM_REQUESTS = 4, 200
WARM_UP = 40  # requests until every thread's memory pool has its size
BAD_EVERY = 5  # requests of a client
PICTURES = [COINS, COINS[:200, :250], np.ascontiguousarray(COINS.transpose(1, 0, 2))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc"),
]


FILES = [encoded(picture, kind) for picture in PICTURES for kind in ("PNG", "JPEG")]


@pytest.fixture(scope="module")
def wanted(coins_model):
    """`Detections` of each file."""
    predictor = kmrcnn.Predictor(coins_model, score_threshold=0.0)
    return [predictor.predict(decode_image(data)) for data in FILES]


class Load:
    """Clients of one server, and what they saw."""

    def __init__(self, address: str, server: int, wanted: list):
        self.address, self.server, self.wanted = address, server, wanted
        self.failures: list[str] = []
        self.memory: list[int] = []  # bytes after each request
        self.refused: dict[str, int] = dict.fromkeys(BAD_FILES, 0)
        self.num_good = 0
        self._lock = threading.Lock()

    def run(self) -> float:
        """Requests per second."""
        share = NUM_REQUESTS // NUM_CLIENTS
        clients = [
            threading.Thread(target=self._client, args=(number, share))
            for number in range(NUM_CLIENTS)
        ]
        start = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return NUM_REQUESTS / (time.perf_counter() - start)

    def _client(self, number: int, share: int) -> None:
        with grpc.insecure_channel(self.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for turn in range(share):
                try:
                    if (turn + number) % BAD_EVERY:
                        self._ask_good(stub, turn + number)
                    else:
                        self._ask_bad(stub, turn // BAD_EVERY + number)
                except (AssertionError, grpc.RpcError) as error:
                    self.failures.append(f"client {number}, request {turn}: {error}")
                self.memory.append(resident_bytes(self.server))

    def _ask_good(self, stub, index: int) -> None:
        index %= len(FILES)
        outputs = ask(stub, [FILES[index]])
        want = self.wanted[index]
        number = int(outputs["num_detections"][0])
        assert number == len(want) > 10
        np.testing.assert_allclose(outputs["boxes"][0, :number], want.boxes, atol=1e-3)
        np.testing.assert_allclose(outputs["scores"][0, :number], want.scores, atol=1e-4)
        with self._lock:
            self.num_good += 1

    def _ask_bad(self, stub, index: int) -> None:
        """Alone, or after a good file."""
        name = list(BAD_FILES)[index % len(BAD_FILES)]
        files = [FILES[0]] * (index % 2) + [BAD_FILES[name]]
        with pytest.raises(grpc.RpcError) as caught:
            ask(stub, files)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert len(caught.value.details()) > 10
        with self._lock:
            self.refused[name] += 1


def ask(stub, files: list[bytes]) -> dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serve_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files))
    outputs = stub.Predict(request, timeout=120).outputs
    return {name: tf.make_ndarray(value) for name, value in outputs.items()}


def resident_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def server_process(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process number of a server."""
    command = [sys.executable, "-m", "tests.export.prediction_service", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.stdin.close()
            process.wait(60)


def test_two_hundred_requests_of_four_clients(coins_saved_model, wanted):
    with server_process(coins_saved_model / "3") as (address, process):
        load = Load(address, process, wanted)
        rate = load.run()
    warm, after = max(load.memory[:WARM_UP]), load.memory[WARM_UP:]
    growth = max(after) - warm
    print(
        f"\n{NUM_REQUESTS} requests, {rate:.1f} a second, {load.num_good} answered, "
        f"{sum(load.refused.values())} refused; memory {warm / 1e6:.0f} MB after {WARM_UP} "
        f"requests, then at most {growth / 1e6:+.1f} MB, {(after[-1] - warm) / 1e6:+.1f} at the end"
    )
    assert load.failures == []
    assert load.num_good == 160 and all(number >= 8 for number in load.refused.values())
    assert len(load.memory) == NUM_REQUESTS
    assert growth < 30e6
