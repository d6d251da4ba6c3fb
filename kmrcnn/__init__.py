"""Mask R-CNN for TensorFlow and Keras 3."""

import importlib as _importlib
from pathlib import Path as _Path

__version__ = "0.1.0"

# In a checkout (or `pip install -e .`) the top-level folders configs/, custom_ops/ and export/ are
# kmrcnn's sub-packages too; setup.py maps them when it builds a wheel, an import from the checkout
# needs the root on the path.
_ROOT = _Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").exists() and (_ROOT / "custom_ops" / "__init__.py").exists():
    __path__.append(str(_ROOT))

_PUBLIC = {  # name -> module; imported at first use, so that `kmrcnn --help` needs no TensorFlow
    "load_model": "kmrcnn.models.zoo",
    "list_presets": "kmrcnn.models.zoo",
    "build_model": "kmrcnn.models.build",
    "GeneralizedRCNN": "kmrcnn.models.generalized_rcnn",
    "Predictor": "kmrcnn.predictor",
    "Detections": "kmrcnn.structures.detections",
    "load_weights": "kmrcnn.weights.assign",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(_importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kmrcnn' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
