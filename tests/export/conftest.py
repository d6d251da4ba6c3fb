"""The SavedModel of the bundled coins model, exported once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import kmrcnn
from kmrcnn.export import export


@pytest.fixture(scope="session")
def coins_model():
    return kmrcnn.load_model("mask_rcnn_r18_coins", "bundled")


@pytest.fixture(scope="session")
def coins_saved_model(coins_model, tmp_path_factory) -> Path:
    """The artefact; the SavedModel itself is in its folder "3"."""
    return export(coins_model, tmp_path_factory.mktemp("export") / "coins", version=3)
