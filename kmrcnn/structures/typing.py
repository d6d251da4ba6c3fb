"""Names of types used in signatures."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any  # a tensor of the Keras backend, a KerasTensor or a NumPy array
