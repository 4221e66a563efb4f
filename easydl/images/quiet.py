"""What image libraries warn of and log is not heard while a file is read; afterwards the process is as it was."""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PYDICOM_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.encoders.base", "pydicom.pixels.utils")
"""A logger's filter does not see the records of its children, so each gets one."""

_LIBRARIES = r"(pydicom|highdicom|nibabel|PIL|openjpeg|libjpeg|pylibjpeg|jpeg_ls|gdcm)\b"
_lock = threading.Lock()
_readers: Counter[int] = Counter()
"""How many readers there are in each thread."""
_filters = warnings.catch_warnings()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the libraries' warnings of values that break a rule of form: what matters of them is refused or noted.

    They quote values of headers, which no log may hold. Filters belong to the whole process. Threads that each saved
    and restored them would leave one another's behind, so the first reader sets them and the last one restores what
    was there; log lines of threads that read nothing are heard.
    """
    global _filters
    thread = threading.get_ident()
    with _lock:
        if not _readers:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=_LIBRARIES)
            for name in PYDICOM_LOGGERS:
                logging.getLogger(name).addFilter(_heard)
        _readers[thread] += 1
    try:
        yield
    finally:
        with _lock:
            _readers.subtract([thread])
            if not _readers[thread]:
                del _readers[thread]
            if not _readers:
                _filters.__exit__(None, None, None)
                for name in PYDICOM_LOGGERS:
                    logging.getLogger(name).removeFilter(_heard)


def _heard(record: logging.LogRecord) -> bool:
    return threading.get_ident() not in _readers
