"""Starting Keras and its backend without their greetings."""

import importlib
import logging
import os
import sys
import tempfile


def import_quietly(module: str = "keras") -> None:
    """Imports a module, holding back what it writes to stderr unless the import fails.

    TensorFlow logs about drivers and rounding before TF_CPP_MIN_LOG_LEVEL takes effect. Its warning
    about functions that are traced too often is left out, too.
    """
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    if module in sys.modules:
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        failed = True
        try:
            importlib.import_module(module)
            failed = False
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if failed:
                held_back.seek(0)
                os.write(2, held_back.read())


def _is_no_retracing(record: logging.LogRecord) -> bool:
    """False for the retracing warning: it counts the predict functions of all Keras models as one,
    so that a few models and sizes of pictures set it off.
    """
    return "triggered tf.function retracing" not in str(record.msg)
