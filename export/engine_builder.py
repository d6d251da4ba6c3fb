"""An engine by the `tensorrt` package, of versions 8.5 to 11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kmrcnn.data.files import written_aside


def build_engine(
    onnx_path: Path, engine_path: Path, precision: str, layers: str, max_batch: int
) -> str:
    """Builds and writes an engine.

    Args:
        onnx_path: The model of this precision.
        engine_path: Where the engine goes.
        precision: "float32", "float16" or "int8".
        layers: `float16_layers` of the model, for TensorRT 8.
        max_batch: Largest batch of a model of any batch size.

    Returns:
        The version of TensorRT.

    Raises:
        ImportError: The package, or one of its libraries, is not there.
        RuntimeError: TensorRT refuses the model, or there is no GPU.
    """
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    trt.init_libnvinfer_plugins(logger, "")  # RoiAlign is one inside TensorRT
    builder = _start(trt, logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise RuntimeError(f"TensorRT {trt.__version__} cannot read {onnx_path.name}: {errors}")
    config = builder.create_builder_config()
    if not _is_strongly_typed(trt):
        _set_precision(trt, config, network, precision, layers)
    if precision != "float16":
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 means all of its bits
    _add_profile(builder, config, network, max_batch)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError(f"TensorRT {trt.__version__} could not build {onnx_path.name}.")
    with written_aside(engine_path) as aside:
        aside.write_bytes(bytes(engine))
    return trt.__version__


def _start(trt: Any, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # the binding's way to say that there is nothing to bind
        raise RuntimeError(f"TensorRT {trt.__version__} cannot start; is there a GPU?") from error


def _is_strongly_typed(trt: Any) -> bool:
    """Whether a network keeps the types of its file: TensorRT 10 and later."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _network_flags(trt: Any) -> int:
    """Explicit batches are a flag up to 10, and the only kind from 11 on."""
    names = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
    kinds = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, name)) for name in names if hasattr(kinds, name))


def _set_precision(trt: Any, config: Any, network: Any, precision: str, layers: str) -> None:
    """TensorRT 8: float16 only where the file has it, everything else float32."""
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if precision != "float16":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    half = {entry.rsplit(":", 1)[0] for entry in layers.strip().split(",")}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name in half:
            layer.precision = trt.float16
        elif layer.num_outputs and layer.get_output(0).dtype in (trt.float32, trt.float16):
            layer.precision = trt.float32


def _add_profile(builder: Any, config: Any, network: Any, max_batch: int) -> None:
    """Sizes of the inputs, if the batch size is open."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if all(-1 not in tuple(tensor.shape) for tensor in inputs):
        return
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *rest), (1, *rest), (max_batch, *rest))
    config.add_optimization_profile(profile)
