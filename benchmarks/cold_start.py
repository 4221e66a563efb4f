"""How long until something happens: ``import easydl`` and ``easydl --help`` against ``import tensorflow``.

Run: python benchmarks/cold_start.py
"""

from __future__ import annotations

import subprocess
import sys

import common

WORKS = {
    "import easydl": [sys.executable, "-c", "import easydl"],
    "easydl --help": [sys.executable, "-m", "easydl", "--help"],
    "import tensorflow": [sys.executable, "-c", "import tensorflow"],
}

if __name__ == "__main__":

    def work(words: list[str]):
        return lambda: subprocess.run(words, check=True, capture_output=True)

    seconds = common.interleaved({name: work(words) for name, words in WORKS.items()})
    figures = {name: common.summary(took) for name, took in seconds.items()}
    base = figures["import tensorflow"]["median_s"]
    ratios = {name: round(base / figure["median_s"], 1) for name, figure in figures.items()}
    common.write("cold_start", {"seconds": figures, "times_faster_than_import_tensorflow": ratios})
