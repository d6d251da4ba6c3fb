"""Fixtures shared by all tests, and where the reference folders are."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).resolve().parent.parent
CASES = Path(os.environ.get("KMRCNN_CASES", ROOT.parent / "shared" / "cases"))
DATA = Path(os.environ.get("KMRCNN_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(config, items):
    """Slow tests run when asked for: `-m slow`, `-m "slow or not slow"`, KMRCNN_SLOW=1."""
    if "slow" in (config.getoption("-m") or "") or os.environ.get("KMRCNN_SLOW") == "1":
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: set KMRCNN_SLOW=1 or pass -m slow"))


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    if not (CASES / "index.json").exists() and not (CASES / "README.md").exists():
        pytest.skip(f"no reference cases in {CASES} (set KMRCNN_CASES)")
    return CASES


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no real photographs in {DATA} (set KMRCNN_DATA)")
    return DATA
