"""Accuracy on public data sets, each beside a baseline or a published figure, with 95% intervals.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/run.py NAME [--seed 0] [--epochs N | --full] [--limit N]

What each data set is, how it is split and what is published is written in `segmentation_sets.py` and `classification.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from classification import openi_abd_vs_cxr, pneumoniamnist
from segmentation import run
from segmentation_sets import SETS

CLASSIFICATION = {"pneumoniamnist": pneumoniamnist, "openi_abd_vs_cxr": openi_abd_vs_cxr}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*SETS, *CLASSIFICATION])
    parser.add_argument("--seed", type=int, default=0, help="of a segmentation: the draw of the parts and the training")
    parser.add_argument("--epochs", type=int, help="instead of the benchmark's own number")
    parser.add_argument("--full", action="store_true", help="train as long as fit does by default")
    parser.add_argument(
        "--limit", type=int, help="use so many cases of each part, to try the script; writes no figures"
    )
    parser.add_argument("--repeats", type=int, help="seeds, or repeats of the cross-validation, of a classification")
    parser.add_argument("--model", help="of openi_abd_vs_cxr")
    parser.add_argument("--untrained", action="store_true", help="openi_abd_vs_cxr: begin with random weights")
    options = parser.parse_args()
    if options.name in SETS:
        run(options.name, SETS[options.name], options)
    else:
        CLASSIFICATION[options.name](options)
