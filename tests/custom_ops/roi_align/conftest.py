"""The kernels without any framework."""

import pytest

from kmrcnn.custom_ops import build
from kmrcnn.custom_ops.roi_align import kernels


@pytest.fixture(scope="session")
def library():
    """The CPU kernels, and the CUDA kernels as the emulation runs them."""
    try:
        return kernels.load(build.find_or_build("emulation"))
    except build.BuildError as error:
        pytest.skip(f"the emulated kernels cannot be compiled: {error}")
