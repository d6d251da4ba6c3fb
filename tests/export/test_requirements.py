import sys

import pytest

from kmrcnn.export.requirements import require


def test_installed_packages_pass_without_being_imported():
    require("json", "numpy")
    sys.modules.pop("this", None)
    require("this")  # prints when it is imported
    assert "this" not in sys.modules


def test_missing_packages_are_named_with_the_line_that_installs_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ImportError) as caught:
        require("numpy", "ai_edge_litert", "no_such_package")
    assert str(caught.value) == (
        'This export needs ai-edge-litert, no_such_package: pip install "kmrcnn[export]"'
    )
