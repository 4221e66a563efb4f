"""Waiting until all workers are there with the same settings, before TensorFlow begins: as long as a cluster needs to start them."""

from __future__ import annotations

import hashlib
import json
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from easydl.errors import RunError

if TYPE_CHECKING:
    from easydl.training.workers import Workers

WAIT_S = 300.0
"""How long the first worker waits for the others: a cluster does not begin all parts of a job at once."""
LOOK_S, TALK_S = 0.5, 10.0
GREETING, GO = b"easydl worker ", b"go"


def meet(workers: Workers, settings: Mapping[str, Any], *, wait_s: float = WAIT_S) -> None:
    """Wait until all workers are there.

    The first listens on its own address; each of the others says its number and what it was given.

    Raises:
        RunError: One did not come in time, was given other settings, or the port is in use.
    """
    given = digest_of(settings)
    end = time.monotonic() + wait_s
    if workers.is_first:
        _receive(workers, given, end, wait_s)
    else:
        _call(workers, given, end, wait_s)


def digest_of(settings: Mapping[str, Any]) -> str:
    """What tells settings from others."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _receive(workers: Workers, given: str, end: float, wait_s: float) -> None:
    _, port = _split(workers.addresses[0])
    others, lines = set(range(1, len(workers.addresses))), dict[int, socket.socket]()
    try:
        listening = socket.create_server(("", port), reuse_port=False)
    except OSError as problem:
        raise _in_use(workers, problem) from problem
    with listening:
        listening.settimeout(LOOK_S)
        while missing := others - set(lines):
            if time.monotonic() > end:
                names = ", ".join(f"worker {number} ({workers.addresses[number]})" for number in sorted(missing))
                raise RunError(
                    f"{names} did not come within {wait_s:.0f} seconds.",
                    f"all {len(workers.addresses)} workers, each started with its own --worker.",
                    f"Look whether it runs, and whether it can reach {workers.addresses[0]} (name, firewall).",
                )
            with suppress(TimeoutError):
                line, _ = listening.accept()
                line.settimeout(TALK_S)
                with suppress(OSError, ValueError):
                    said = line.makefile("rb").readline()
                    number, _, theirs = said.removeprefix(GREETING).partition(b" ")
                    if said.startswith(GREETING) and int(number) in others:
                        if theirs.decode().strip() != given:
                            line.sendall(b"other\n")
                            raise _other_settings(int(number))
                        lines[int(number)] = line
            # A worker that ended while the others were waited for may be started again.
            for gone in [other for other, line in lines.items() if _has_ended(line)]:
                lines.pop(gone).close()
        for line in lines.values():
            with line, suppress(OSError):  # TensorFlow names who is lost from here on
                line.sendall(GO + b"\n")


def _has_ended(line: socket.socket) -> bool:
    """Whether the other side is gone: it says nothing after its greeting, so that anything to read is the end."""
    return bool(select.select([line], [], [], 0)[0])


def _call(workers: Workers, given: str, end: float, wait_s: float) -> None:
    _, own = _split(workers.addresses[workers.number])
    try:
        socket.create_server(("", own)).close()
    except OSError as problem:
        raise _in_use(workers, problem) from problem
    address = _split(workers.addresses[0])
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(address, timeout=TALK_S) as line:
            line.sendall(GREETING + f"{workers.number} {given}\n".encode())
            line.settimeout(max(1.0, end - time.monotonic()))
            answer = line.makefile("rb").readline().strip()
            if answer == GO:
                return
            if answer:
                raise _other_settings(workers.number)
        time.sleep(LOOK_S)
    raise RunError(
        f"The first worker ({workers.addresses[0]}) did not answer, or other workers are missing, within {wait_s:.0f} seconds.",
        f"all {len(workers.addresses)} workers, each started with its own --worker.",
        "Start the first worker, and look whether it can be reached from here (name, port, firewall).",
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _in_use(workers: Workers, problem: OSError) -> RunError:
    return RunError(
        f"The port of {workers.addresses[workers.number]} cannot be used ({problem.strerror}).",
        "a free port on this computer.",
        "End what uses it, or choose another port in --workers, on all computers.",
    )


def _other_settings(number: int) -> RunError:
    return RunError(
        f"Worker {number} was started with other settings than the first.",
        "the same command on all computers, except for --worker and --folder.",
        "Start all workers again with the same command.",
    )
