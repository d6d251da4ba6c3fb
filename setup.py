"""Packaging: the top-level folders become sub-packages of kmrcnn (`kmrcnn.configs`,
`kmrcnn.custom_ops`, `kmrcnn.export`).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "kmrcnn" / "__init__.py").read_text()).group(
    1
)
FOLDERS = ("configs", "custom_ops", "export")  # installed as kmrcnn.<folder>
EXPORT = [
    "tf2onnx==1.17.0",  # handlers of operators are written for its internals
    "onnx>=1.23.2",
    "onnxruntime>=1.31.1",
    "ai-edge-litert>=2.3.0",
    "ai-edge-quantizer>=0.10.0",
    "tensorflow-serving-api>=2.21.0",
]

packages = find_packages(include=["kmrcnn", "kmrcnn.*"])
package_dir = {}
for folder in FOLDERS:
    package_dir[f"kmrcnn.{folder}"] = folder
    packages += [f"kmrcnn.{folder}", *(f"kmrcnn.{folder}.{p}" for p in find_packages(folder))]

setup(
    name="kmrcnn",
    version=VERSION,
    description="Mask R-CNN for TensorFlow and Keras 3, equal to torchvision and Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=packages,
    package_dir=package_dir,
    package_data={
        "kmrcnn.configs": ["**/*.yaml"],
        "kmrcnn.weights": ["files/*.npz"],
        "kmrcnn.custom_ops": ["**/*.md", "roi_align/cc/*"],
        "kmrcnn.export": ["*.json"],
    },
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pillow>=10.1",
        "pycocotools>=2.0.8",
        "faster-coco-eval>=1.8",
        "PyYAML>=6.0",
        "tqdm>=4.66",
    ],
    extras_require={
        "export": EXPORT,
        "train": ["tensorboard>=2.19"],
        "vis": ["scikit-image>=0.24", "supervision>=0.25", "pydot>=3.0", "matplotlib>=3.8"],
        "test": [
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "scikit-image>=0.24",
            "supervision>=0.25",
            "pydot>=3.0",
            "matplotlib>=3.8",
            "jax>=0.5",
            "tensorboard>=2.19",
            "setuptools>=70",
            *EXPORT,
        ],
    },
    entry_points={"console_scripts": ["kmrcnn = kmrcnn.cli.__main__:main"]},
)
