"""Mask R-CNN for TensorFlow and Keras 3."""

from pathlib import Path as _Path

__version__ = "0.1.0"

# In a checkout (or `pip install -e .`) the top-level folders export/, custom_ops/ and configs/ are kmrcnn's
# sub-packages too; setup.py maps them when it builds a wheel, an import from the checkout needs the root on the path.
_ROOT = _Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").exists() and (_ROOT / "custom_ops" / "__init__.py").exists():
    __path__.append(str(_ROOT))
