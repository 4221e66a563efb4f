"""Several computers that train one model: who they are, that all are there, what each reads, and who was lost."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from easydl.errors import EasyDLError, InputError, RunError
from easydl.training.meeting import WAIT_S, meet

TASK = re.compile(r"task:(\d+)")
LATE = "timed out task names:"
"""What TensorFlow says before it names who did not come; before it, it names who came first."""

FOR_ONE = {"learning_rate": "find", "batch_size": "auto"}
"""Each worker would measure another value."""


@dataclass(frozen=True)
class Workers:
    """The processes that train together, and which of them this one is.

    Attributes:
        addresses: ``host:port`` of each, the same list in the same order everywhere. The first leads: it alone writes.
        number: Of this process, from 0.
    """

    addresses: tuple[str, ...]
    number: int

    @classmethod
    def of(cls, addresses: str | None, number: int | None, config: str | None = None) -> Workers | None:
        """From ``--workers`` and ``--worker``, or from ``TF_CONFIG`` as a cluster sets it; None for one process alone.

        Raises:
            InputError: Addresses or numbers that make no sense.
        """
        if addresses is None and number is None:
            return _of_config(config) if config else None
        named = tuple(one.strip() for one in (addresses or "").split(",") if one.strip())
        if number is None or addresses is None:
            given, missing = ("--workers", "--worker") if number is None else ("--worker", "--workers")
            raise InputError(
                f"{given} was given without {missing}.",
                "both: the addresses of all workers, and the number of this one, from 0.",
                "Write: --workers host1:2222,host2:2222 --worker 0",
            )
        return cls(named, number).checked()

    def checked(self) -> Workers | None:
        """The same; None where there is only one."""
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise InputError(
                    f"{address!r} is not a valid address of a worker.",
                    "a name and a port, such as host1:2222.",
                    "Correct --workers (or TF_CONFIG).",
                )
        twice = sorted({one for one in self.addresses if self.addresses.count(one) > 1})
        if twice:
            raise InputError(
                f"The address {twice[0]} is given twice.", "one address for each worker.", "Correct --workers."
            )
        if not 0 <= self.number < len(self.addresses):
            raise InputError(
                f"This is worker {self.number}, and there are {len(self.addresses)} addresses.",
                f"a number from 0 to {len(self.addresses) - 1}.",
                "Correct --worker, or add the missing address.",
            )
        return self if len(self.addresses) > 1 else None

    @property
    def is_first(self) -> bool:
        """Whether this process leads."""
        return self.number == 0

    def tf_config(self) -> str:
        """What TensorFlow reads."""
        task = {"type": "worker", "index": self.number}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def check_several(count: int, options: Mapping[str, Any]) -> None:
    """Refuse, of the options of a training, those for which ``count`` workers cannot train together.

    Raises:
        InputError: Such an option.
    """
    alone = {"teacher": options.get("teacher") is not None, "unlabelled": options.get("unlabelled") is not None}
    alone |= {f"{name}={value!r}": options.get(name) == value for name, value in FOR_ONE.items()}
    what = next((name for name, given in alone.items() if given), None)
    if what is not None and count > 1:
        raise InputError(
            f"{count} workers were given for {what}.",
            "several workers for a training on its own: a teacher, unlabelled images, and settings that are measured before "
            "the training are for one process, with all its GPUs.",
            "Leave --workers out.",
        )


def _of_config(config: str) -> Workers | None:
    try:
        content = json.loads(config)
        cluster, task = content.get("cluster") or {}, content.get("task") or {}
        leads = list(cluster.get("chief", []))
        addresses = (*leads, *cluster.get("worker", []))
        number = int(task.get("index", 0)) + (len(leads) if task.get("type") == "worker" else 0)
    except (ValueError, AttributeError, TypeError) as problem:
        raise InputError(
            f"TF_CONFIG cannot be read ({type(problem).__name__}).",
            'JSON such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.',
            "Correct it in the job, remove it, or use --workers and --worker.",
        ) from problem
    if set(cluster) - {"chief", "worker"} or task.get("type", "worker") not in ("chief", "worker"):
        raise InputError(
            f"TF_CONFIG names {', '.join(sorted({*cluster, task.get('type', 'worker')}))}.",
            "workers only (and a chief): easydl has no parameter servers or evaluators.",
            "Give every process of the job the type worker.",
        )
    return Workers(addresses, number).checked()


@dataclass(frozen=True)
class Share:
    """The scans that one worker draws patches from, by their place among those of its process.

    Attributes:
        cases: Their places.
        batch: How many patches of a step are drawn from them.
        key: What its draws depend on beside the seed and the epoch.
    """

    cases: Sequence[int]
    batch: int
    key: tuple[int, ...] = ()


def whole(scans: int, batch: int) -> tuple[Share, ...]:
    """All scans, and all patches of a step, as the share of one."""
    return (Share(range(scans), batch),)


@dataclass(frozen=True)
class Team:
    """What the training asks of the workers. Alone, every question is answered by itself.

    Attributes:
        count: How many workers there are.
        shards: Those whose rows this process holds: its own. One process can hold all of them, to compare.
        strategy: TensorFlow's strategy; None for one process.
        addresses: Of the workers.
    """

    count: int = 1
    shards: tuple[int, ...] = (0,)
    strategy: Any = None
    addresses: tuple[str, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether this process writes, and answers for all."""
        return self.shards[0] == 0

    def rows(self, count: int) -> list[int]:
        """The rows of a part that this process reads: every one of two, of three..."""
        return sorted(row for shard in self.shards for row in range(shard, count, self.count))

    def orders(self, count: int, steps: int, seed: int) -> Callable[[int], list[np.ndarray]]:
        """From an epoch to the rows of its steps, by their place among those of this process, in the order of the seed.

        Each worker's rows are divided equally among the steps, so that all workers have as many steps.
        """
        place = {row: number for number, row in enumerate(self.rows(count))}

        def order(epoch: int) -> list[np.ndarray]:
            mixed: list[list[int]] = [[] for _ in range(steps)]
            for shard in self.shards:
                rows = np.arange(shard, count, self.count)
                chosen = rows[np.random.default_rng([seed, epoch, shard]).permutation(len(rows))]
                for step, part in enumerate(np.array_split(chosen, steps)):
                    mixed[step] += [place[int(row)] for row in part]
            return [np.array(rows, np.int64) for rows in mixed]

        return order

    def shares(self, count: int, batch: int) -> tuple[Share, ...]:
        """The scans of a part that has ``count``, divided as `rows` does, and with them the patches of a step."""
        if self.count == 1:
            return whole(count, batch)
        place = {row: number for number, row in enumerate(self.rows(count))}
        ends = [batch * shard // self.count for shard in range(self.count + 1)]
        return tuple(
            Share([place[row] for row in range(shard, count, self.count)], ends[shard + 1] - ends[shard], (shard,))
            for shard in self.shards
        )

    def of_batch(self, batch: int) -> int:
        """How many rows of a validation step this process reads, so that all workers together see them in their order."""
        return batch if self.count == 1 else max(1, batch // self.count) * len(self.shards)

    def from_first(self, ask: Callable[[], Any]) -> Any:
        """The first worker's answer, as JSON makes of it; the others do not ask.

        What it refuses is refused by all of them, in the same words.
        """
        if self.strategy is None:
            return ask()
        problem: EasyDLError | None = None
        text = b""
        if self.is_first:
            try:
                text = json.dumps([ask(), None]).encode()
            except EasyDLError as refused:
                problem = refused
                text = json.dumps([None, [refused.found, refused.expected, refused.do]]).encode()
        size = int(self._sum(np.array([len(text)], np.int64))[0])
        padded = (
            np.frombuffer(text.ljust(-(-size // 8) * 8), np.int64)
            if self.is_first
            else np.zeros(-(-size // 8), np.int64)
        )
        answer, parts = json.loads(self._sum(padded).tobytes()[:size])
        if parts is not None:
            raise problem or RunError(*parts)
        return answer

    def arrays(self, own: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        """The first worker's arrays."""
        if self.strategy is None:
            return [np.asarray(one) for one in own or ()]
        known = self.from_first(lambda: [[one.shape, one.dtype.str] for one in map(np.asarray, own or ())])
        found = []
        for number, (shape, kind) in enumerate(known):
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
            content = (
                np.asarray(own[number]).tobytes() if self.is_first and own is not None else b""
            )  # bytes are summed with zeros
            whole = self._sum(np.frombuffer(content.ljust(-(-size // 8) * 8, b"\0"), np.int64))
            found.append(np.frombuffer(whole.tobytes()[:size], kind).reshape(shape).copy())
        return found

    def gathered(self, own: np.ndarray, count: int) -> np.ndarray:
        """The rows of all workers in the order of the study, from this worker's own: any shape, float."""
        if self.strategy is None:
            return own
        whole = np.zeros((count, *own.shape[1:]), own.dtype)
        whole[self.rows(count)] = own
        return self._sum(whole)

    def total(self, own: np.ndarray) -> np.ndarray:
        """The sum over all workers."""
        return own if self.strategy is None else self._sum(own)

    def _sum(self, value: np.ndarray) -> np.ndarray:
        from easydl.training.strategies import summed

        return summed(self.strategy, value)


ALONE = Team()
_team = [ALONE]


def team() -> Team:
    """The workers of this process; `ALONE` where there are none."""
    return _team[0]


@contextmanager
def playing(one: Team) -> Iterator[Team]:
    """Inside, these are the workers."""
    before, _team[0] = _team[0], one
    try:
        yield one
    finally:
        _team[0] = before


@contextmanager
def joined(workers: Workers | None, settings: Mapping[str, Any], *, wait_s: float = WAIT_S) -> Iterator[Team]:
    """Inside, this process is one of the workers. It has to be entered before TensorFlow has computed anything.

    ``settings`` have to be the same everywhere.

    Raises:
        RunError: Not all workers came in time, they were given other settings, or one was lost.
    """
    if workers is None:
        yield team()
        return
    from easydl._tf import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    from easydl.training.coordination import START_S, start_within

    # Only now: the time that importing TensorFlow takes is no time in which a worker can be lost unseen.
    meet(workers, settings, wait_s=wait_s)
    start_within(len(workers.addresses), START_S)
    os.environ["TF_CONFIG"] = workers.tf_config()
    team_of = partial(Team, len(workers.addresses), (workers.number,), addresses=workers.addresses)
    with playing(team_of()):
        try:
            with _ended_by_a_signal():
                strategy = tf.distribute.MultiWorkerMirroredStrategy()
            with playing(team_of(strategy)) as one:
                yield one
        except (tf.errors.OpError, RuntimeError) as problem:
            lost = who_was_lost(problem)
            if lost is None:
                raise
            raise lost from problem


@contextmanager
def _ended_by_a_signal() -> Iterator[None]:
    """After it, SIGTERM does what it did before: TensorFlow's coordination takes it for itself, and a worker outlives it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def who_was_lost(problem: BaseException) -> RunError | None:
    """The error for a worker that no longer answers; None for any other problem."""
    import tensorflow as tf

    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    text, addresses, own = str(problem), team().addresses, team().shards[0]
    if not isinstance(problem, gone) and "Collective ops is aborted" not in text:
        return None
    named = TASK.findall(text.rpartition(LATE)[2])
    known = [number for number in map(int, named) if number != own and number < len(addresses)]
    name = f"Worker {known[0]} ({addresses[known[0]]})" if known else "Another worker"
    return RunError(
        f"{name} no longer answers: its process ended, or the network between the computers is down.",
        f"all {len(addresses)} workers until the training is over.",
        "Read what that worker printed last, and start all workers again with the same command: the training goes on from "
        "its last checkpoint.",
    )
