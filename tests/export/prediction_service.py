"""A small stand-in for TensorFlow Serving: its own protocol around the loader without Python.

Not ModelServer: no batching, no versions. It restores variables and runs signatures as ModelServer
does, through a session, so what fails there fails here.

    python -m tests.export.prediction_service FOLDER

serves the SavedModel in FOLDER in a process of its own: prints the address, stops when its standard
input ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `Predict` with a SavedModel."""

    def __init__(self, folder: Path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        loader = tf.compat.v1.saved_model.loader
        self.signatures = loader.load(self.session, ["serve"], str(folder)).signature_def

    def Predict(self, request, context):  # noqa: N802
        signature = self.signatures[request.model_spec.signature_name or "serving_default"]
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        inputs = {
            signature.inputs[name].name: tf.make_ndarray(value)
            for name, value in request.inputs.items()
        }
        try:
            found = self.session.run(outputs, inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for name, value in found.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Runs the service; yields its address. As ModelServer it takes requests of any size."""
    server = grpc.server(
        futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)]
    )
    service = PredictionService(folder)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
        service.session.close()


def main() -> None:
    """Serves the folder of the command line until the standard input ends."""
    with serving(Path(sys.argv[1])) as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
