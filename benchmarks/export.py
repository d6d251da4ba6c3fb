"""How long the exported model takes in each runtime, beside the Keras graph and torchvision's ONNX.

    python benchmarks/export.py --peer PATH/TO/PYTHON/WITH/TORCHVISION --json result.json

Weights and photograph are those of `predict.py`: random, calibrated so that there are 1000
proposals and 100 detections, which is the most work there can be. Every runtime has a process of
its own with nothing else in it than that runtime needs, and they take turns. Rows with "pasted"
begin with the photograph and end with masks of its size, as torchvision's file does; the others
begin with the network's input and end with boxes and 28 x 28 masks.

Repetitions in which other processes used the cores are not counted; "clean" says how many were
counted. Files are written once if `--folder` keeps them.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from predict import HEADER, ROW, answer, interleave, machine, prepare

KERAS = "Keras graph"
OURS = {  # row: verb of runtimes.py
    KERAS: "keras",
    "SavedModel": "saved_model",
    "SavedModel, compiled op": "saved_model_custom_op",
    "ONNX Runtime": "onnx",
    "LiteRT float32": "tflite_float32",
    "LiteRT int8": "tflite_int8",
    "ONNX Runtime, pasted": "onnx_pasted",
}
TORCHVISION = "torchvision's ONNX, pasted"
BARS = (  # row, times at most that of row
    ("SavedModel", 1.0, KERAS),
    ("LiteRT float32", 1.3, KERAS),
    ("LiteRT int8", 1.0, "LiteRT float32"),
    ("ONNX Runtime, pasted", 0.9, TORCHVISION),
)


def main():
    args = _parse()
    result = {"settings": vars(args), "machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result["files"] = write_files(folder, args)
        result["rows"] = interleave(workers(folder, args), args.repeats)
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
    parser.add_argument("--rows", nargs="+", choices=OURS, default=list(OURS), metavar="ROW")
    parser.add_argument("--peer", metavar="PYTHON", help="has torchvision, onnx and onnxruntime")
    parser.add_argument("--folder", help="keeps the files, and takes them if they are there")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def write_files(folder, args):
    """{file: {"megabytes": ..., "seconds": ...}}; what is there already is not made again."""
    common = [str(folder), str(args.threads)]
    if not (folder / "weights.npz").is_file():
        prepare(folder, args)
        answer([sys.executable, "network.py", "calibrate", *common])
    files = answer([sys.executable, "runtimes.py", "export", *common])
    if args.peer:
        model = [*common, args.preset, str(args.detections)]
        if not (folder / "torchvision.pth").is_file():
            answer([args.peer, "peer_torchvision.py", "calibrate", *model])
        files["torchvision"] = answer([args.peer, "peer_torchvision_onnx.py", "export", *model])
    return files


def workers(folder, args):
    """{row: command}."""
    common = [str(folder), str(args.threads)]
    commands = {row: [sys.executable, "runtimes.py", OURS[row], *common] for row in args.rows}
    if args.peer:
        commands[TORCHVISION] = [args.peer, "peer_torchvision_onnx.py", "serve", *common]
    return commands


def _print(settings, machine, files, rows):
    for facts in (settings, machine):
        print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    for name, file in files.items():
        print(f"{name:30}{file['megabytes']:9.1f} MB, written in {file['seconds']:.0f} s")
    print(f"{HEADER}{'peak MiB':>10}{'load s':>8}{'found':>7}")
    for name, row in rows.items():
        more = f"{row['peak_mib']:10}{row['load_s']:8.2f}{row['detections']:7}"
        print(ROW.format(name, **row) + more)
    for name, bar, other in BARS:
        if name in rows and other in rows:
            ratio = rows[name]["median"] / rows[other]["median"]
            print(f"{name} / {other}: {ratio:.2f} of the median (wanted: at most {bar})")


if __name__ == "__main__":
    main()
