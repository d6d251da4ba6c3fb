"""What imports and TensorFlow write before the work, held back."""

import logging
import sys

import pytest

from kmrcnn.cli.quiet import import_quietly


@pytest.fixture
def module(tmp_path, monkeypatch):
    """(source) -> name of a module with it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        (tmp_path / "noisy_module.py").write_text(source)
        monkeypatch.delitem(sys.modules, "noisy_module", raising=False)
        return "noisy_module"

    return write


def test_greetings_are_held_back(module, capfd):
    name = module("import os\nos.write(2, b'hello')\nvalue = 3\n")
    import_quietly(name)
    assert sys.modules[name].value == 3
    sys.stderr.write("after")
    assert capfd.readouterr().err == "after"


def test_a_failing_import_tells_what_it_wrote(module, capfd):
    with pytest.raises(ZeroDivisionError):
        import_quietly(module("import os\nos.write(2, b'hello')\n1 / 0\n"))
    assert capfd.readouterr().err == "hello"


def test_the_retracing_warning_is_left_out():
    heard = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("tensorflow")
    import_quietly("json")
    logger.addHandler(listener)
    logger.warning("5 out of the last 5 calls to f triggered tf.function retracing. Tracing is ...")
    logger.warning("%d out of memory", 3)
    logger.removeHandler(listener)
    assert heard == ["3 out of memory"]
