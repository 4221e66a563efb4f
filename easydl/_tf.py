"""TensorFlow is imported here first, without the lines that it prints about drivers."""

from __future__ import annotations

import os
import sys
import tempfile

UNUSED_BY_COMMANDS = ("IPython", "matplotlib", "sklearn")
"""What Keras imports for wrappers and plots of its own, if it is installed: a quarter of the time it takes to load."""


def load_tensorflow_for_a_command() -> None:
    """`load_tensorflow` without what Keras imports on the side: no code of the user's can ask for it in this process."""
    if "tensorflow" in sys.modules:
        return
    absent = [name for name in UNUSED_BY_COMMANDS if name not in sys.modules]
    try:
        sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None: importing it raises ImportError
        load_tensorflow()
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def load_tensorflow() -> None:
    """Import TensorFlow and look for GPUs; what its C++ part prints meanwhile is shown only when that fails.

    It prints to the process's standard error before it reads its own log level, so the descriptor is redirected
    meanwhile. Does nothing when TensorFlow is imported already, or when ``EASYDL_VERBOSE`` is set.
    """
    if "tensorflow" in sys.modules or os.environ.get("EASYDL_VERBOSE"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # no standard error at all, as under pythonw
        return
    with tempfile.TemporaryFile() as printed:
        try:
            os.dup2(printed.fileno(), 2)
            import tensorflow as tf

            tf.config.list_physical_devices("GPU")
        except BaseException:
            os.dup2(original, 2)
            printed.seek(0)
            sys.stderr.write(printed.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
