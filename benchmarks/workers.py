"""Two workers in two network namespaces against one process: the same losses, and how many images a second each way trains.

Needs Linux, root, ``ip`` and a core for each worker. Run: ``python benchmarks/workers.py``. Both ways see the same images in
the same order in steps of the same size, divided among the workers or not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from common import write

NAMES, HOSTS = ("easydl_a", "easydl_b"), ("10.77.7.1", "10.77.7.2")
PORT, BATCH, EPOCHS, IMAGES, SIDE = 22577, 32, 4, 256, 128
TOLERANCE = 1e-3


def network() -> None:
    """Two namespaces with a cable between them."""
    for name in NAMES:
        subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "link", "add", "easydl0", "type", "veth", "peer", "name", "easydl1"], check=True)
    for name, end, host in zip(NAMES, ("easydl0", "easydl1"), HOSTS, strict=True):
        inside = ["ip", "netns", "exec", name, "ip"]
        subprocess.run(["ip", "link", "set", end, "netns", name], check=True)
        subprocess.run([*inside, "addr", "add", f"{host}/24", "dev", end], check=True)
        for device in ("lo", end):
            subprocess.run([*inside, "link", "set", device, "up"], check=True)


def tidy() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def train(number: int | None) -> None:
    """One worker, or one process that plays both; prints the history and the seconds of each epoch."""
    import time

    from easydl.training.workers import Team, Workers, joined, playing

    addresses = tuple(f"{host}:{PORT}" for host in HOSTS)
    one = None if number is None else Workers(addresses, number)
    with joined(one, {}), playing(Team(2, (0, 1))) if one is None else nullcontext():
        import keras
        import numpy as np
        import tensorflow as tf

        from easydl.training.callbacks import Progress
        from easydl.training.loop import Data, Stage, run_stage
        from easydl.training.objective import Objective
        from easydl.training.pipeline import image_feed
        from easydl.training.workers import team

        rng = np.random.default_rng(0)
        targets = np.eye(2, dtype=np.float32)[rng.integers(0, 2, IMAGES)]
        images = rng.random((IMAGES, SIDE, SIDE, 1), np.float32) + 0.2 * targets[:, 1, None, None, None]
        keras.utils.set_random_seed(0)
        image = x = keras.Input((SIDE, SIDE, 1))
        for filters in (16, 32, 64):
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
            x = keras.layers.Conv2D(filters, 3, padding="same", strides=2, activation="relu")(x)
        answer = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
        model, own, steps = keras.Model(image, answer), team().rows(IMAGES), IMAGES // BATCH
        order = team().orders(IMAGES, steps, seed=0)
        check = tf.data.Dataset.from_tensor_slices((images[own][:64], targets[own][:64])).batch(32)
        seconds: list[float] = []
        processor: list[float] = []

        class Clock(Progress):
            def on_epoch_begin(self, epoch, logs=None):
                self.begun, self.used = time.perf_counter(), time.process_time()

            def on_test_begin(self, logs=None):
                seconds.append(time.perf_counter() - self.begun)
                processor.append(time.process_time() - self.used)

        def feed(first_epoch):
            return image_feed(images[own], targets[own], BATCH, seed=0, order=order, first_epoch=first_epoch)

        plain = "categorical_crossentropy"
        progress = Clock(None)
        run_stage(
            Stage("train", EPOCHS, steps, 1e-3, patience=EPOCHS),
            Objective(model, plain, lambda: ["accuracy"], plain),
            Data(feed, check),
            progress,
        )
        total = [float(np.abs(weights).sum()) for weights in model.get_weights()]
    print(
        json.dumps({"loss": progress.history()["loss"], "weights": total, "seconds": seconds, "processor": processor})
    )


def started(number: int | None, core: int) -> subprocess.Popen[str]:
    inside = [] if number is None else ["ip", "netns", "exec", NAMES[number]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    command = [*inside, "taskset", "-c", str(core), sys.executable, __file__, "one" if number is None else str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    load = os.getloadavg()[0]

    def answer(process: subprocess.Popen[str]) -> dict[str, list[float]]:
        out, error = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(error[-2000:])
        return json.loads(out.splitlines()[-1])

    alone = answer(started(None, cores[0]))
    tidy()
    network()
    try:
        both = [answer(one) for one in [started(number, cores[number % len(cores)]) for number in (0, 1)]]
    finally:
        tidy()
    # The first epoch traces the graphs.
    throughput = [IMAGES / min(one["seconds"][1:]) for one in (alone, both[0])]
    apart = max(abs(a - b) for one in both for a, b in zip(alone["loss"], one["loss"], strict=True))
    weights = max(
        abs(a - b) / (abs(a) + 1e-9) for one in both for a, b in zip(alone["weights"], one["weights"], strict=True)
    )
    write(
        "workers",
        {
            "largest difference of the loss of an epoch": apart,
            "largest relative difference of weights": weights,
            "loss within tolerance": apart <= TOLERANCE,
            "images per second, one process": throughput[0],
            "images per second, two workers": throughput[1],
            "times as fast": throughput[1] / throughput[0],
            # What two idle cores could reach at best: waiting for the other worker costs the clock alone.
            "times less processor time for each worker": min(alone["processor"][1:])
            / max(min(one["processor"][1:]) for one in both),
            "load of the computer before": load,
        },
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(None if sys.argv[1] == "one" else int(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["EASYDL_CACHE"] = str(Path(folder))
            main()
