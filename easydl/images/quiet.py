"""The warnings of image libraries are not shown while a file is read; afterwards the process is as it was."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = r"(pydicom|highdicom|nibabel|PIL|openjpeg|libjpeg|pylibjpeg|jpeg_ls|gdcm)\b"
_lock = threading.Lock()
_readers = 0
_filters = warnings.catch_warnings()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the libraries' warnings of values that break a rule of form: what matters of them is refused or noted.

    Filters belong to the whole process. Threads that each saved and restored them would leave one another's behind, so
    the first reader sets the filter and the last one restores what was there.
    """
    global _readers, _filters
    with _lock:
        if not _readers:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=_LIBRARIES)
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _filters.__exit__(None, None, None)
