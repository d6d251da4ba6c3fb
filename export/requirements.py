"""The packages of the extra `[export]`: a missing one is named with the line that installs it."""

from __future__ import annotations

import importlib.util

INSTALL = 'pip install "kmrcnn[export]"'
DISTRIBUTIONS = {  # where pip knows a package by another name than Python
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "tensorflow_serving": "tensorflow-serving-api",
}


def require(*packages: str) -> None:
    """Passes if all packages are installed; nothing is imported.

    Args:
        *packages: Names as in `import`, without dots.

    Raises:
        ImportError: Names the missing packages and the pip line.

    Example:
        >>> require("tf2onnx", "onnx")
        >>> import tf2onnx
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(DISTRIBUTIONS.get(name, name) for name in missing)
        raise ImportError(f"This export needs {names}: {INSTALL}")
