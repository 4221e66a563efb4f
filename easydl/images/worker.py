"""A separate process that answers questions: for decoders that may crash, and for work of more than one core."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


class WorkerError(Exception):
    """The process ended, or its function failed."""


class Worker:
    """Runs one function of one JSON value in a separate process, which ends with this one.

    multiprocessing would run the user's script again, and threads share one interpreter lock.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        code = f"from {function.__module__} import {function.__name__} as function; "
        code += f"from {__name__} import serve; serve(function)"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def alive(self) -> bool:
        """False once it ended; it is closed then."""
        return self._process.poll() is None

    def ask(self, question: Any) -> Any:
        """What the function returns: a JSON value or an array.

        Raises:
            WorkerError: See there; a process that ended stays ended.
        """
        try:
            answer, raw = self._exchange(question)
        except (OSError, ValueError) as problem:
            self.close()
            raise WorkerError("the process ended") from problem
        except BaseException:
            self.close()  # The answer would wait in the pipe for the next question.
            raise
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["value"] if raw is None else raw

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # What was not yet written to it.
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()

    def _exchange(self, question: Any) -> tuple[dict[str, Any], np.ndarray | None]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(question).encode() + b"\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        if "shape" not in answer:
            return answer, None
        dtype, shape = np.dtype(answer["dtype"]), tuple(answer["shape"])
        raw = stdout.read(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        return answer, np.frombuffer(raw, dtype).reshape(shape)


def serve(function: Callable[[Any], Any]) -> None:
    """Answer lines of JSON on standard input, in the worker's process, until it is closed."""
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # What a library prints must not mix with the answers.
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        raw = b""
        try:
            value = function(json.loads(line))
            if isinstance(value, np.ndarray):
                answer, raw = {"dtype": value.dtype.str, "shape": value.shape}, value.tobytes()
            else:
                answer = {"value": value}
        except Exception as problem:
            answer = {"error": f"{type(problem).__name__}: {problem}"[:500]}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(raw)
        answers.flush()
