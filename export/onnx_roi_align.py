"""RoIAlign as the standard ONNX operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kmrcnn.custom_ops.roi_align.arguments import RoIArguments
from kmrcnn.custom_ops.roi_align.reference import assign_levels


@dataclass(frozen=True)
class Settings:
    """What an ONNX node needs beside tensors; see `roi_align`."""

    strides: tuple[float, ...]
    output_size: tuple[int, int]
    sampling_ratio: int
    aligned: bool


class OnnxRoIAlign:
    """A form of `roi_align` that cannot run, only be converted: one `RoiAlign` per level.

    In TensorFlow's graph a `tf.numpy_function` stands in for the operator, and `handlers` turns it
    into ONNX nodes. The settings do not travel in the graph but here, by the stand-in's token.

    Every level pools all boxes, and `Where` takes each box from its own: no size depends on values.
    On other levels than its own a box is a point at the origin, which costs little; under adaptive
    sampling a large box on a fine map would be the most expensive of all.
    """

    def __init__(self):
        self._settings: dict[str, Settings] = {}

    def __call__(self, arguments: RoIArguments, sampling_ratio: int, aligned: bool) -> tf.Tensor:
        """The stand-in: (N, P, Q, C) in the dtype of the features; pools in float32."""
        levels = assign_levels(arguments.boxes, arguments.level_areas)
        maps = [tf.cast(features, "float32") for features in arguments.features]
        inputs = [*maps, arguments.boxes, arguments.batch_indices, levels]
        pooled = tf.numpy_function(_refuse, inputs, tf.float32)
        self._settings[pooled.op.get_attr("token").decode()] = Settings(
            arguments.strides, arguments.output_size, sampling_ratio, aligned
        )
        number, channels = arguments.boxes.shape[0], maps[0].shape[-1]
        shape = (-1 if number is None else number, *arguments.output_size, channels)
        return tf.cast(tf.reshape(pooled, shape), arguments.features[0].dtype)

    def handlers(self) -> dict[str, Any]:
        """`custom_op_handlers` of `tf2onnx.convert.from_function`."""
        return {"PyFunc": (self._convert, []), "EagerPyFunc": (self._convert, [])}

    def _convert(self, graph, node, name, args) -> None:
        """Replaces the stand-in in tf2onnx's graph."""
        settings = self._settings[node.get_attr_str("token")]
        levels_count = len(settings.strides)
        maps, (boxes, images, levels) = node.input[:levels_count], node.input[levels_count:]
        output, shape = node.output[0], graph.get_shape(node.output[0])
        graph.remove_node(node.name)
        nodes = _Nodes(graph, name)
        images = nodes.add("Cast", [images], to=nodes.INT64)
        pooled = None
        for level, features in enumerate(maps):
            here = nodes.add("Equal", [levels, nodes.constant(np.int32(level))])  # (N,)
            own = nodes.add("Where", [nodes.column(here, 2), boxes, nodes.constant(np.float32(0))])
            values = _pool(nodes, features, own, images, settings, settings.strides[level])
            if pooled is not None:
                values = nodes.add("Where", [nodes.column(here, 4), values, pooled])
            pooled = values
        nodes.add("Transpose", [pooled], [output], [shape], perm=[0, 2, 3, 1])


def _pool(nodes, features, boxes, images, settings: Settings, stride: float) -> str:
    """(N, C, P, Q) from one map (B, h, w, C)."""
    channels_first = nodes.add("Transpose", [features], perm=[0, 3, 1, 2])
    rows, columns = settings.output_size
    return nodes.add(  # TensorRT's defaults are not those of ONNX, so every attribute is there
        "RoiAlign",
        [channels_first, boxes, images],
        mode="avg",
        output_height=rows,
        output_width=columns,
        sampling_ratio=settings.sampling_ratio,
        spatial_scale=1.0 / stride,
        coordinate_transformation_mode="half_pixel" if settings.aligned else "output_half_pixel",
    )


class _Nodes:
    """Adds numbered nodes to tf2onnx's graph."""

    FLOAT, INT64 = 1, 7  # of onnx.TensorProto

    def __init__(self, graph, prefix: str):
        self._graph = graph
        self._prefix = prefix
        self._count = 0

    def add(self, operator: str, inputs: list[str], outputs=None, shapes=None, **attributes) -> str:
        """A node; the name of its output, which is float32 where it is given."""
        dtypes = None if outputs is None else [self.FLOAT]
        node = self._graph.make_node(
            operator,
            inputs,
            attr=attributes,
            name=self._name(operator),
            outputs=outputs,
            shapes=shapes,
            dtypes=dtypes,
        )
        return node.output[0]

    def constant(self, value: np.ndarray) -> str:
        """An initializer."""
        return self._graph.make_const(self._name("constant"), np.asarray(value)).output[0]

    def column(self, vector: str, rank: int) -> str:
        """(N,) as (N, 1, ...) of the given rank."""
        shape = np.array([-1] + [1] * (rank - 1), np.int64)
        return self.add("Reshape", [vector, self.constant(shape)])

    def _name(self, label: str) -> str:
        self._count += 1
        return f"{self._prefix}_{label}_{self._count}"


def _refuse(*_):
    raise NotImplementedError(
        "OnnxRoIAlign stands for an operator; its graph can only be converted."
    )
