"""The operators of a LiteRT file: which there are, and whether every runtime has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Operator(NamedTuple):
    """One operator of a file.

    Attributes:
        kind: Its name in LiteRT's schema, e.g. "CONV_2D"; of one that is not builtin its own name
            after "CUSTOM ", e.g. "CUSTOM FlexErf".
        output: Name of its first output tensor.
    """

    kind: str
    output: str


def operators(content: bytes) -> Iterator[Operator]:
    """All operators of a file, those inside loops too."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = []
    for code in file.operatorCodes:
        # Codes that do not fit into a byte have a field of their own, as all have in newer files.
        kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        kinds.append(f"CUSTOM {code.customCode.decode()}" if kind == "CUSTOM" else kind)
    for graph in file.subgraphs:
        for operator in graph.operators:
            output = graph.tensors[operator.outputs[0]].name.decode()
            yield Operator(kinds[operator.opcodeIndex], output)


def require_builtin(content: bytes) -> None:
    """Raises ValueError unless all operators of a file are builtin."""
    others = {one.kind for one in operators(content) if one.kind.startswith("CUSTOM")}
    if others:
        raise ValueError(
            "The model needs operators that LiteRT does not have built in, so plain runtimes "
            f"could not load it. Received: {sorted(others)}"
        )
