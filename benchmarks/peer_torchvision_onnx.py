"""torchvision's own ONNX file in ONNX Runtime, for `export.py`.

peer_torchvision_onnx.py export|serve FOLDER THREADS [PRESET DETECTIONS]

Writing needs torchvision and onnx, with the weights that `peer_torchvision.py calibrate` made;
serving imports onnxruntime alone, so that the memory is the runtime's.
"""

import json
import sys
import time
from pathlib import Path

import measure
import numpy as np

NAME = "torchvision.onnx"


def export(folder, preset, detections):
    """By `torch.onnx.export` with traced control flow, the way torchvision's tests have it."""
    import peer_torchvision as peer
    import torch

    path, start = folder / NAME, time.perf_counter()
    if not path.is_file():
        photo = torch.from_numpy(_photo(folder))
        model = peer.build(preset, photo.shape[1:], detections)
        model.load_state_dict(torch.load(folder / peer.FILE))
        outputs = ["boxes", "labels", "scores", "masks"]
        with torch.inference_mode():
            torch.onnx.export(
                model,
                ([photo],),
                str(path),
                opset_version=17,
                input_names=["image"],
                output_names=outputs,
                dynamo=False,
            )
    size = path.stat().st_size / 1e6
    print(json.dumps({"megabytes": size, "seconds": time.perf_counter() - start}))


def serve(folder, threads):
    """From the photograph to masks of its size."""
    import onnxruntime

    start = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns of every mask: shapes are those of the tracing
    path = str(folder / NAME)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    facts = {"load_s": time.perf_counter() - start, "onnxruntime": onnxruntime.__version__}

    def run():
        return len(session.run(None, {"image": _photo(folder)})[2])

    facts["detections"] = run()
    run()
    measure.serve(run, **facts)


def _photo(folder):
    """(3, H, W) float32 in 0..1."""
    return (np.load(folder / "photo.npy").transpose(2, 0, 1) / 255).astype(np.float32)


if __name__ == "__main__":
    verb, folder, threads, *model = sys.argv[1:]
    if verb == "export":
        export(Path(folder), model[0], int(model[1]))
    else:
        serve(Path(folder), int(threads))
