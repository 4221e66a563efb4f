"""How to repeat a run: as lines of Python, as a notebook and as a command. It runs nothing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import Any

from easydl import option_text
from easydl.errors import RESEARCH_USE
from easydl.networks.by_default import weights_for
from easydl.networks.registry import ENTRIES, SOURCES
from easydl.option_model import Options
from easydl.options import LoadOptions, ModelOptions, RunOptions, SplitOptions
from easydl.options_of_training import FitOptions
from easydl.options_of_use import GroupOptions

STUDY = "path/to/your/study"
IMAGE = "an_image_of_your_study"
"""What stands for the study's path in all that may be passed on."""


def python(config: dict[str, Any], builder: str, name: str) -> str:
    """The lines of Python that repeat a run, with every option that is not the default.

    Args:
        config: The content of ``config.json``. Anyone may have edited it: what is not valid is left out.
        builder: ``classifier``, ``segmenter``, ``unet`` or ``unet3d``.
        name: The network's name.

    Example:
        >>> print(python({"source": "scans.csv", "seed": 7, "augment": "ct"}, "classifier", "tiny"))
        import easydl
        <BLANKLINE>
        study = easydl.load('scans.csv')
        print(easydl.audit(study))
        train, val, test = study.split(seed=7)
        model = easydl.classifier('tiny', study, seed=7)
        easydl.fit(model, train, val, augment='ct', seed=7)
        print(easydl.evaluate(model, test, seed=7))
        easydl.saliency(model, test).show()
    """
    return "\n".join(line for cell in _cells(config, builder, name) for line in cell)


def notebook(config: dict[str, Any], builder: str, name: str, *, title: str) -> str:
    """The lines of `python` as a Jupyter notebook (format 4.5, JSON), one step a cell."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {title}\n\n{RESEARCH_USE}"}
    ]
    for place, lines in enumerate(_cells(config, builder, name)):
        code = {"cell_type": "code", "id": f"step-{place}", "source": "\n".join(lines).strip()}
        cells.append({**code, "metadata": {}, "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1)


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without the paths of this computer, whose names may name patients.

    Example:
        >>> without_places({"pretrained": "/home/me/doe_jane.keras", "encoder": "resnet18"})["pretrained"]
        'path/to/your/pretrained'
    """
    source = {"source": STUDY} if config.get("source") else {}
    excluded = config.get("exclude") and [str(one) if str(one).isdigit() else IMAGE for one in config["exclude"]]
    names = {"teacher": (), "unlabelled": (), "pretrained": ("auto", *SOURCES), "encoder": tuple(ENTRIES)}
    others = {
        name: f"path/to/your/{name}"
        for name, known in names.items()
        if isinstance(given := config.get(name), str)
        and given
        and given not in known
        and not given.startswith("https://")
    }
    return {**config, **source, **others, "root": None, "exclude": excluded}


def command(config: dict[str, Any]) -> str:
    """The command that repeats a run, quoted for this system's command line; empty when the source is not known.

    Example:
        >>> command({"source": "my scans.csv", "model": "tiny", "mask_labels": {"tumour": [1, 4]}})  # doctest: +SKIP
        "easydl train 'my scans.csv' --mask-labels tumour=1,4 --model tiny"
    """
    if not config.get("source"):
        return ""
    words = ["easydl", "train", str(config["source"])]
    for name, value in RunOptions.changed(config).items():
        words += option_text.words(name, RunOptions.model_fields[name], value)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _cells(config: dict[str, Any], builder: str, name: str) -> list[list[str]]:
    """The lines of Python, step by step."""
    given = RunOptions.changed(config)
    if weights := weights_for(given, str(given.get("encoder") or name)):
        given["pretrained"] = weights
    seed = {"seed": given.get("seed", 0)}

    def call(function: str, *arguments: str, options: type[Options] = Options, **more: Any) -> str:
        named = {name: value for name, value in given.items() if name in options.model_fields and name not in more}
        keywords = named | more
        return f"{function}({', '.join([*arguments, *(f'{name}={value!r}' for name, value in keywords.items())])})"

    network = [repr(name)] if builder in ("classifier", "segmenter") else []
    return [
        ["import easydl", ""],
        [
            f"study = {call('easydl.load', repr(config.get('source', '')), options=LoadOptions)}",
            "print(easydl.audit(study))",
            f"train, val, test = {call('study.split', options=SplitOptions, **seed)}",
        ],
        [
            f"model = {call(f'easydl.{builder}', *network, 'study', options=ModelOptions, **seed)}",
            call("easydl.fit", "model", "train", "val", options=FitOptions, **seed),
        ],
        [
            f"print({call('easydl.evaluate', 'model', 'test', options=GroupOptions, **seed)})",
            "easydl.saliency(model, test).show()",
        ],
    ]
