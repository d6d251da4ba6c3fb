"""Starting Keras and its backend without their greetings."""

import importlib
import os
import sys
import tempfile


def import_quietly(module: str = "keras") -> None:
    """Imports a module, holding back what it writes to stderr unless the import fails.

    TensorFlow logs about drivers and rounding before TF_CPP_MIN_LOG_LEVEL takes effect.
    """
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
