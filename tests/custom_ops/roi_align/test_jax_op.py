"""RoIAlign bound to JAX: a process of its own, since the Keras backend is chosen once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import jax
import numpy as np
from kmrcnn.custom_ops import is_compiled, roi_align

if not is_compiled():
    raise SystemExit(77)
draw = np.random.default_rng(0)
maps = [draw.normal(size=(2, n, n + 3, 6)).astype("float32") for n in (16, 8)]
corners = draw.uniform(-20, 60, (40, 2))
boxes = np.concatenate([corners, corners + draw.uniform(0, 60, (40, 2))], 1).astype("float32")
images = draw.integers(-1, 3, 40)

def pool(maps, ratio, form):
    return roi_align(list(maps), boxes, images, (4, 8), (3, 5), ratio, True, (900.0,), form=form)

def gradient(ratio, form):
    return jax.jit(jax.grad(lambda maps: jax.numpy.sin(pool(maps, ratio, form)).sum()))(maps)

for ratio in (2, 0):
    want = jax.jit(lambda maps: pool(maps, ratio, "reference"))(maps)
    got = jax.jit(lambda maps: pool(maps, ratio, None))(maps)
    assert np.abs(want).max() > 0.5
    np.testing.assert_allclose(got, want, atol=2e-5)
for got, want in zip(gradient(2, "compiled"), gradient(2, "reference")):
    np.testing.assert_allclose(got, want, atol=2e-5)
# The reference form cannot be differentiated here under adaptive sampling; the sum of a gradient is
# known: a bin inside the map spreads all of what comes from above.
inside = np.array([[8, 8, 40, 40]], "float32")
total = lambda maps: roi_align(maps, inside, [0], 4, 2, 0, form="compiled").sum()
np.testing.assert_allclose(jax.grad(total)(maps[0]).sum(), 4 * 6, rtol=1e-5)
half = roi_align(maps[0].astype(jax.numpy.bfloat16), inside, [0], 4, 2, 2)
assert half.dtype == jax.numpy.bfloat16
assert roi_align(maps[0], inside[:0], [], 4, 2, 2).shape == (0, 2, 2, 6)
print("all equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_values_and_gradients_under_jax():
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip("there is no compiled library for jax")
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
