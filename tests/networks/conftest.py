"""Small networks for the model tests, built once, and a writer of the official weights format."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import http.server
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

FRESH_PROCESS = """
import gc, sys; sys.modules["easydl"] = None
import keras, numpy as np
gc.disable()
for path in sys.stdin:
    keras.backend.clear_session()
    model = keras.models.load_model(path.strip() + ".keras")
    x = np.load(path.strip() + ".npy")
    np.save(path.strip() + ".output.npy", np.asarray(model(x, training=False)))
    print("done", flush=True)
"""


@pytest.fixture(scope="session")
def built():
    """``built(name, **options)``: a model for tests that do not change it, built once in a session."""
    import easydl
    from easydl.networks.registry import ENTRIES

    @functools.lru_cache(maxsize=32)
    def build(name, **options):
        return getattr(easydl, ENTRIES[name].kind)(name, **options)

    return build


@pytest.fixture(scope="session")
def fresh_process():
    """A process that knows Keras and no easydl: it opens a file and says what the model makes of an input."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as elsewhere:
        process = subprocess.Popen(
            [sys.executable, "-c", FRESH_PROCESS], env=environment, cwd=elsewhere, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip

        def outputs(path: Path, x: np.ndarray) -> np.ndarray:
            name = path.with_suffix("")
            np.save(f"{name}.npy", x)
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            while (said := process.stdout.readline().strip()) != "done":
                log.seek(0)
                assert said or process.poll() is None, log.read()[-2000:]
            return np.load(f"{name}.output.npy")

        yield outputs
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture
def real_weights(monkeypatch):
    """The folder with the official MobileNet 0.25 file, as the weight cache."""
    folder = Path(os.environ.get("EASYDL_REAL_DATA", "")) / "keras_weights"
    if not os.environ.get("EASYDL_REAL_DATA") or not folder.is_dir():
        pytest.skip("EASYDL_REAL_DATA is not set")
    monkeypatch.setenv("EASYDL_WEIGHTS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path_factory):
    """Empty weight caches and a closed door where the weights would come from."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EASYDL_WEIGHTS", str(home / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(home / "keras"))
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("easydl.networks.pretrained.download.WAIT_S", 0.0)


@pytest.fixture(scope="session")
def official(tmp_path_factory, stir, write_official):
    """The file of MobileNet 0.25 in the official layout with random weights."""
    import keras

    model = stir(keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3)))
    return write_official(model, tmp_path_factory.mktemp("official") / "mobilenet_2_5_224_tf_no_top.h5")


class Mirror(http.server.BaseHTTPRequestHandler):
    """A web server of one file that can be told to misbehave; also a proxy, which gets whole addresses."""

    body = b""
    promised: int | None = None
    codes: list[int]
    asked: list[str]
    together: threading.Barrier | None = None

    def do_GET(self):
        type(self).asked.append(self.path)
        if self.together:
            self.together.wait(60)
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        self.send_response(code)
        if code == 200:
            self.send_header("Content-Length", str(self.promised or len(self.body)))
        self.end_headers()
        if code == 200:
            self.wfile.write(self.body)

    def do_CONNECT(self):
        type(self).asked.append(f"CONNECT {self.path}")
        self.send_error(403)

    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture
def server(official):
    """A web server on this computer: its handler, with its ``address``."""
    handler = type("Handler", (Mirror,), {"body": official.read_bytes(), "asked": [], "codes": [200]})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror(monkeypatch, server):
    """The same server as the mirror of all official files."""
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", f"{server.address}/keras/")
    return server


@pytest.fixture(scope="session")
def write_official():
    """A function that writes weights as keras.applications publishes them."""
    return _write_official


@pytest.fixture(scope="session")
def stir():
    """A function that gives every array of a model its own random values."""
    return _stir


def _write_official(model, path: Path) -> Path:
    """Write weights as keras.applications publishes them (Keras 2 layout), by hand.

    Layers are listed in model order, each with its arrays, the trainable ones first.
    """
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            weights = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{weight.name}_{k}:0" for k, weight in enumerate(weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                group.create_dataset(name, data=np.asarray(weight))
    return path


def _stir(model, seed: int = 0):
    """Give every normalisation its own random values, with the batch statistics of some random pictures.

    The signal then reaches the end: an untrained network in inference mode would answer a constant.
    """
    import keras

    rng = np.random.default_rng(seed)
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
        if layer.scale:
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0.0, 0.2, layer.beta.shape))
    model(rng.uniform(0, 255, (8, *model.input_shape[1:])).astype("float32"), training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
        # One variance for all channels: dividing by a tiny one would turn rounding errors into differences.
        variance = np.asarray(layer.moving_variance)
        layer.moving_variance.assign(variance.mean() * rng.uniform(0.5, 2.0, variance.shape))
    return model
