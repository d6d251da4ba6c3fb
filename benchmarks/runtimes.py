"""Workers of `export.py`, a process each: runtimes.py VERB FOLDER THREADS.

Frameworks are imported where they are used, so that each process has only its own.
"""

import json
import os
import sys
import time
from pathlib import Path

import measure
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FILES = {  # folder: what `export` is asked for
    "saved_model": {"format": "saved_model"},
    "saved_model_custom_op": {"format": "saved_model", "custom_op": True},
    "onnx": {"format": "onnx", "batch_size": 1},
    "tflite_float32": {"format": "tflite"},
    "tflite_int8": {"format": "tflite", "precision": "int8"},
}


def export(folder, threads):
    """Writes what is missing, and the network's input; prints sizes and seconds."""
    predictor, photo = _predictor(folder, threads)
    from kmrcnn.export import export

    batch = predictor._to_batch([photo])
    np.savez(folder / "inputs.npz", **{name: np.asarray(value) for name, value in batch.items()})
    facts = {}
    for name, options in FILES.items():
        path = folder / name
        if not path.exists():
            if options["format"] != "saved_model":
                options = options | {"image_size": batch["images"].shape[1:3]}
            if options.get("precision") == "int8":
                options = options | {"calibration_images": [photo]}
            start = time.perf_counter()
            export(predictor.model, path, **options)
            (folder / f"{name}.json").write_text(json.dumps(time.perf_counter() - start))
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        seconds = json.loads((folder / f"{name}.json").read_text())
        facts[name] = {"megabytes": size / 1e6, "seconds": seconds}
    print(json.dumps(facts))


def keras(folder, threads):
    """The model itself, as `Model.predict_on_batch` runs it."""
    predictor, _ = _predictor(folder, threads)
    inputs = _inputs(folder)
    return lambda: int(predictor.model.predict_on_batch(inputs)["valid"].sum())


def saved_model(folder, threads, name="saved_model"):
    """In TensorFlow, without Keras."""
    tensorflow = _tensorflow(threads)
    if name.endswith("custom_op"):
        tensorflow.load_op_library(str(folder / name / "kmrcnn_ops.so"))
    loaded = tensorflow.saved_model.load(str(folder / name / "1"))
    inputs = {name: tensorflow.constant(value) for name, value in _inputs(folder).items()}
    detect = loaded.signatures["serve_float"]

    def run(loaded=loaded):  # a signature alone does not keep the variables alive
        outputs = {name: value.numpy() for name, value in detect(**inputs).items()}
        return int(outputs["num_detections"].sum())

    return run


def onnx(folder, threads):
    """In ONNX Runtime, without TensorFlow."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = folder / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    place = [output.name for output in session.get_outputs()].index("num_detections")
    inputs = _inputs(folder)
    return lambda: int(session.run(None, inputs)[place].sum())


def onnx_pasted(folder, threads):
    """In ONNX Runtime, from the photograph to masks of its size."""
    _tensorflow(threads)
    from kmrcnn.export import ArtefactPredictor

    predictor = ArtefactPredictor(folder / "onnx", score_threshold=0.0)
    photo = np.load(folder / "photo.npy")
    return lambda: len(predictor.predict(photo).masks)


def tflite(folder, threads, precision):
    """In LiteRT, without TensorFlow."""
    from ai_edge_litert.interpreter import Interpreter

    path = folder / f"tflite_{precision}" / "model.tflite"
    interpreter = Interpreter(str(path), num_threads=threads)
    detect, inputs = interpreter.get_signature_runner(), _inputs(folder)
    return lambda: int(detect(**inputs)["num_detections"].sum())


RUNTIMES = {
    "keras": keras,
    "saved_model": saved_model,
    "saved_model_custom_op": lambda *a: saved_model(*a, "saved_model_custom_op"),
    "onnx": onnx,
    "onnx_pasted": onnx_pasted,
    "tflite_float32": lambda *a: tflite(*a, "float32"),
    "tflite_int8": lambda *a: tflite(*a, "int8"),
}


def serve(verb, folder, threads):
    """Loads a runtime, runs it twice to warm up, then answers with repetitions."""
    start = time.perf_counter()
    run = RUNTIMES[verb](folder, threads)
    facts = {"load_s": time.perf_counter() - start}
    facts["detections"] = run()
    run()
    measure.serve(run, **facts)


def _tensorflow(threads):
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    return tensorflow


def _predictor(folder, threads):
    from network import load

    return load(folder, threads)[:2]


def _inputs(folder):
    """{"images": (1, H, W, 3) float32, "image_sizes": (1, 2) int32}."""
    return dict(np.load(folder / "inputs.npz"))


if __name__ == "__main__":
    arguments = Path(sys.argv[2]), int(sys.argv[3])
    if sys.argv[1] == "export":
        export(*arguments)
    else:
        serve(sys.argv[1], *arguments)
