"""TensorRT: ONNX files and what builds and runs the engine; the engine itself where TensorRT is."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.export import engine_script, run_engine
from kmrcnn.export.calibration import calibration_canvases
from kmrcnn.export.engine_builder import build_engine
from kmrcnn.export.fixed_batch import Run, in_batches
from kmrcnn.export.onnx import convert, particulars
from kmrcnn.export.onnx_int8 import quantize
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.parser_tables import check_model
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN

RUNNER_NAME = "run_engine.py"
MAX_BATCH = 4  # of an engine of any batch size
JETPACK_TRTEXEC = "/usr/src/tensorrt/bin/trtexec"

logger = logging.getLogger(__name__)


def write(model: GeneralizedRCNN, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Writes model_<precision>.onnx, build_engine.sh, run_engine.py and, where it can be built,
    model_<precision>.engine; what metadata.json says of them.

    float16 and int8 come with the float32 model, to compare with.
    """
    import onnx

    models = {"float32": convert(model, options, "float32")}
    if options.precision == "float16":
        models["float16"] = convert(model, options, "float16")
    if options.precision == "int8":
        models["int8"] = _quantized(models["float32"], model, options)
    for precision, proto in models.items():
        onnx.save(proto, folder / f"model_{precision}.onnx")
    layers = engine_script.float16_layers(models["float16"]) if "float16" in models else ""
    _write_tools(model, folder, options, layers)
    described = particulars(models["float32"], model, options)
    return described | _build(folder, options.precision, layers)


def open_artefact(folder: Path, metadata: dict[str, Any]) -> Run:
    """The engine on the GPU; see `Format`.

    Raises:
        RuntimeError: There is no engine.
        ImportError: `tensorrt` or `cuda-python` is missing.
    """
    path = folder / f"model_{metadata['precision']}.engine"
    if not path.is_file():
        raise RuntimeError(
            f"{str(folder)!r} has no engine: {metadata.get('engine_missing')}. On a machine with "
            f"TensorRT, `sh {engine_script.NAME}` makes it."
        )
    engine = run_engine.Engine(str(path))

    def run(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        return engine.run({"images": images, "image_sizes": image_sizes})

    if metadata["batch_size"] is None:
        return _at_most(MAX_BATCH, run)
    return in_batches(run, metadata["batch_size"])


def _at_most(number: int, run: Run) -> Run:
    def run_parts(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        starts = range(0, len(images), number)
        parts = [run(images[s : s + number], image_sizes[s : s + number]) for s in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_parts


def _quantized(proto: Any, model: GeneralizedRCNN, options: ExportOptions) -> Any:
    canvases = calibration_canvases(
        options.calibration_images, model.config.input, options.image_size
    )
    quantized = quantize(proto, canvases, options.batch_size or 1)
    check_model(quantized)
    return quantized


def _write_tools(model: GeneralizedRCNN, folder: Path, options: ExportOptions, layers: str) -> None:
    """What the machine with TensorRT needs beside the models."""
    script = engine_script.build_script(
        options.precision,
        options.image_size,
        model.config.input.channels,
        dynamic=options.batch_size is None,
    )
    (folder / engine_script.NAME).write_text(script)
    (folder / engine_script.NAME).chmod(0o755)
    if layers:
        (folder / engine_script.LAYERS_NAME).write_text(layers)
    shutil.copyfile(run_engine.__file__, folder / RUNNER_NAME)


def _build(folder: Path, precision: str, layers: str) -> dict[str, Any]:
    """Builds the engine by the package or else by trtexec; without either says so."""
    name = f"model_{precision}.engine"
    reasons = []
    for build in (_build_by_package, _build_by_trtexec):
        try:
            version = build(folder, precision, layers)
        except (ImportError, RuntimeError, OSError) as error:
            reasons.append(str(error))
            continue
        logger.info("Built %s with %s.", name, version)
        return {"engine": name, "engine_built_by": version, "engine_missing": None}
    missing = "; ".join(reasons)
    logger.warning(
        "No engine was built (%s). Copy the folder to a machine with TensorRT and run `sh %s`.",
        missing,
        engine_script.NAME,
    )
    return {"engine": None, "engine_built_by": None, "engine_missing": missing}


def _build_by_package(folder: Path, precision: str, layers: str) -> str:
    model = folder / f"model_{precision}.onnx"
    logger.info("Building the engine if tensorrt is here; that can take minutes.")
    try:
        version = build_engine(model, model.with_suffix(".engine"), precision, layers, MAX_BATCH)
    except ImportError as error:
        raise ImportError(f"the Python package tensorrt is not here ({error})") from error
    return f"tensorrt {version}"


def _build_by_trtexec(folder: Path, precision: str, layers: str) -> str:
    program = os.environ.get("TRTEXEC") or shutil.which("trtexec") or shutil.which(JETPACK_TRTEXEC)
    if program is None:
        raise RuntimeError("trtexec was not found here")
    logger.info("Building the engine with %s; this can take minutes.", program)
    done = subprocess.run(
        ["sh", engine_script.NAME, precision],
        cwd=folder,
        env=os.environ | {"TRTEXEC": program, "MAX_BATCH": str(MAX_BATCH)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 or not (folder / f"model_{precision}.engine").is_file():
        ending = " ".join((done.stdout + done.stderr).split())[-500:]
        raise RuntimeError(f"{program} failed: {ending}")
    return program
