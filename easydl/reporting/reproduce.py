"""A run told again: as lines of Python and as a command. It runs nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import Any

_SIZES = [0.6, 0.2, 0.2]
_READ = (
    "image", "label", "mask", "task", "classes", "label_separator", "raters", "heads", "root", "merge_labels", "resample_masks",
    "collapse_instances", "mask_labels",
)  # fmt: skip
"""The arguments of `easydl.load` that are told as they are; patient and split are told by their own rules."""
_OPTIONS = (
    "model", "encoder", "augment", "epochs", "batch_size", "learning_rate", "size", "window", "normalise", "spacing_mm", "loss",
    "image", "label", "mask", "task", "split", "classes", "label_separator", "raters", "heads", "covariates", "root", "seed",
    "heatmaps",
)  # fmt: skip
_FIT = {
    "augment": "auto", "epochs": None, "batch_size": None, "learning_rate": None, "fine_tune": "auto", "window": None,
    "normalise": "percentile", "spacing_mm": None, "loss": "auto", "override": None,
}  # fmt: skip
"""The arguments of `easydl.fit` and what they are when nobody said otherwise."""
_FLAGS = ("pretrained", "merge_labels", "resample_masks", "collapse_instances")


def python(config: dict[str, Any], builder: str, name: str) -> str:
    """The lines of Python that do a run again.

    Args:
        config: The content of ``config.json``.
        builder: ``classifier``, ``segmenter``, ``unet`` or ``unet3d``.
        name: The network's name.

    Returns:
        A script.

    Example:
        >>> print(python({"source": "scans.csv", "seed": 7, "augment": "ct"}, "classifier", "tiny"))
        import easydl
        <BLANKLINE>
        study = easydl.load('scans.csv')
        print(easydl.audit(study))
        train, val, test = study.split(seed=7)
        model = easydl.classifier('tiny', classes=study.classes, pretrained=False, seed=7)
        easydl.fit(model, train, val, augment='ct', seed=7)
        print(easydl.evaluate(model, test, seed=7))
        easydl.saliency(model, test).show()
    """
    seed = int(config.get("seed") or 0)
    load = {key: config[key] for key in _READ if config.get(key) and (key, config[key]) != ("task", "auto")}
    if config.get("patient", "auto") != "auto":
        load["patient"] = config["patient"]
    split: dict[str, Any] = {"seed": seed}
    if list(config.get("sizes") or _SIZES) != _SIZES:
        split = {"sizes": tuple(config["sizes"]), **split}
    if config.get("split"):
        load["split"] = config["split"]
        split["column"] = config["split"]
    classifier = builder == "classifier"
    build = {"pretrained": config.get("pretrained") or False, "seed": seed} if classifier else {"seed": seed}
    if not classifier and config.get("encoder"):
        build = {"encoder": config["encoder"], "pretrained": config.get("pretrained") or False, **build}
    if config.get("size"):
        build["size"] = config["size"]
    task = _task(config)
    if classifier and config.get("covariates"):
        build = {"covariates": list(config["covariates"]), **build}
    if classifier and task not in ("classification", "multitask"):
        build = {"task": task, **build}
    told = "heads=study.heads" if task == "multitask" else "classes=study.classes"
    fit = {
        key: tuple(config[key]) if isinstance(config[key], list) else config[key]
        for key, usual in _FIT.items()
        if config.get(key, usual) != usual
    }
    model = [repr(name)] if builder in ("classifier", "segmenter") else []
    return "\n".join(
        [
            "import easydl",
            "",
            f"study = easydl.load({', '.join([repr(config.get('source', '')), *_words(load)])})",
            "print(easydl.audit(study))",
            f"train, val, test = study.split({', '.join(_words(split))})",
            f"model = easydl.{builder}({', '.join([*model, told, *_words(build)])})",
            f"easydl.fit({', '.join(['model', 'train', 'val', *_words(fit), f'seed={seed}'])})",
            f"print(easydl.evaluate(model, test, seed={seed}))",
            "easydl.saliency(model, test).show()",
        ]
    )


def command(config: dict[str, Any]) -> str:
    """The command that does a run again, quoted for this system's command line.

    Args:
        config: The content of ``config.json``.

    Returns:
        One line; empty when the source is not known.

    Example:
        >>> command({"source": "my scans.csv", "model": "tiny", "mask_labels": {"tumour": [1, 4]}})  # doctest: +SKIP
        "easydl train 'my scans.csv' --model tiny --mask-labels tumour=1,4"
    """
    if not config.get("source"):
        return ""
    words = ["easydl", "train", str(config["source"])]
    for name in _OPTIONS:
        for one in _listed(_as_options(config.get(name))):
            # A file that was changed by hand may hold anything; only words and numbers are told.
            usual = name in ("model", "augment", "task", "loss") and one == "auto"
            if isinstance(one, (str, int, float)) and not isinstance(one, bool) and not usual:
                words += [_option(name), str(one)]
    named = config.get("mask_labels")
    for name, values in named.items() if isinstance(named, dict) else ():
        words += [_option("mask_labels"), f"{name}={','.join(map(str, _listed(values)))}"]
    words += [_option(name) for name in _FLAGS if config.get(name) is True]
    if isinstance(config.get("fine_tune"), bool):
        words.append("--fine-tune" if config["fine_tune"] else "--no-fine-tune")
    if isinstance(config.get("pretrained"), str):
        words += ["--weights", config["pretrained"]]
    if config.get("patient", "auto") is None:
        words.append("--no-patients")
    elif config.get("patient", "auto") != "auto":
        words += ["--patient", str(config["patient"])]
    if config.get("override"):
        words += ["--override", str(config["override"])]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _task(config: dict[str, Any]) -> str:
    """What the columns say when nobody did, as `easydl.load` understands them."""
    if config.get("heads"):
        return "multitask"
    task = str(config.get("task") or "auto")
    several = isinstance(config.get("label"), list) and len(config["label"]) > 1
    return task if task != "auto" else "multilabel" if several or config.get("label_separator") else "classification"


def _as_options(value: Any) -> Any:
    """Questions with their classes as the command takes them: ``density=a,b,c``, or ``age=1`` for a number."""
    if not isinstance(value, dict):
        return value
    return [f"{name}={','.join(map(str, _listed(asked)))}" for name, asked in value.items()]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _words(options: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in options.items()]
