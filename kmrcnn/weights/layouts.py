"""How a tensor of another framework becomes a Keras array: pure functions of NumPy arrays.

PyTorch keeps convolutions as (out, in, kh, kw), transposed ones as (in, out, kh, kw) and dense
layers as (out, in); biases and the vectors of a normalisation need no rearranging. The functions of
rows work on PyTorch's side, where the outputs (and so the classes) are the first axis of kernels
and biases alike.
"""

from __future__ import annotations

import numpy as np

from kmrcnn.config.schema import ModelConfig


def same(tensor: np.ndarray, config: ModelConfig) -> np.ndarray:
    """As it is."""
    return tensor


def conv(tensor: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(out, in, kh, kw) -> (kh, kw, in, out), grouped or not.

    A transposed convolution, (in, out, kh, kw) -> (kh, kw, out, in), is the same transposition.
    """
    return tensor.transpose(2, 3, 1, 0)


def dense(tensor: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(out, in) -> (in, out)."""
    return tensor.transpose(1, 0)


def dense_after_flatten(tensor: np.ndarray, config: ModelConfig) -> np.ndarray:
    """(out, C * S * S) -> (S * S * C, out): PyTorch flattens (c, h, w), Keras (h, w, c).

    S is `config.box.pooled_size`, the side of the RoI features.
    """
    side = config.box.pooled_size
    out, flat = tensor.shape
    return tensor.reshape(out, -1, side, side).transpose(2, 3, 1, 0).reshape(flat, out)


def dense_predictor(tensor: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Class logits and box deltas: of a vector, or of the RoI features themselves."""
    of_vector = config.box.num_fcs > 0 or config.box.reduce == "mean"
    return (dense if of_vector else dense_after_flatten)(tensor, config)


def background_last(tensor: np.ndarray) -> np.ndarray:
    """Rows (background, class 0, class 1, ...) of the first axis -> (class 0, ..., background)."""
    return np.roll(tensor, -1, axis=0)


def without_background(tensor: np.ndarray) -> np.ndarray:
    """The first axis without its first row, the background's."""
    return tensor[1:]


def without_background_box(tensor: np.ndarray) -> np.ndarray:
    """The first axis without its first four rows, the background's box."""
    return tensor[4:]
