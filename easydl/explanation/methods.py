"""The methods of `easydl.saliency`: one table, from which Python, the command line, the app and the captions take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from easydl.errors import InputError, unknown_name
from easydl.explanation import gradients, occlusion
from easydl.explanation.checks import upsampled
from easydl.explanation.targets import Target

Weights = tuple[Any, ...] | None
QUICKER = 4


class Found(NamedTuple):
    """A map and what must be known of it.

    Attributes:
        map: float32 on a grid of its own, not normalised.
        notes: In sentences.
    """

    map: np.ndarray
    notes: tuple[str, ...] = ()


Compute = Callable[[Target, Weights, int, int], np.ndarray | Found]


@dataclass(frozen=True)
class Method:
    """One way to a heatmap.

    Attributes:
        title: As captions say it.
        paper: Where it comes from.
        compute: The map for a target, weights (the model's own when None), a number of samples and a seed: floats on a grid
            of its own, not normalised.
        needs: What it looks at: the ``image`` by its gradient, a feature map of a ``layer``, or ``scores`` alone.
        signed: Whether it also has negative values, which speak against the class.
        samples: Noisy copies, steps, masks or feature maps it takes by default; 0 when it takes one pass.
        note: What must be known of it.
    """

    title: str
    paper: str
    compute: Compute
    needs: Literal["image", "layer", "scores"]
    signed: bool = False
    samples: int = 0
    note: str = ""

    def map(self, target: Target, weights: Weights = None, *, samples: int | None = None, seed: int = 0) -> Found:
        """The map of a target, with what must be known of it."""
        made = self.compute(target, weights, samples or self.samples, seed)
        found = made if isinstance(made, Found) else Found(made)
        against = float(-np.minimum(found.map, 0).sum() / max(float(np.abs(found.map).sum()), 1e-30))
        drawn = f"{against:.0%} of the evidence speaks against {target.name} and is not drawn." if against > 0 else ""
        return Found(found.map, tuple(note for note in (self.note, *found.notes, drawn) if note))


def _of_layer(name: str) -> Compute:
    """A map that comes with the logits, in the same pass."""

    def compute(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
        del samples, seed
        if weights is None:
            return target.maps[name]
        return target.network.answer(target.batch, target.index, target.region, weights=weights).maps[name]

    return compute


def _gradcam(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
    del samples, seed
    return target.cam(weights)[0]


def _cam(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
    """The maps before pooling, each by its weight in the dense layer: equation 2 of the paper."""
    del samples, seed
    maps, kernel = target.network.pooled_maps(target.batch, weights)
    weight = kernel[:, target.index] - (kernel.mean(axis=1) if target.network.softmax else 0)
    return np.asarray(maps @ weight)


def _occlusion(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
    del samples, seed
    return occlusion.occlusion(target.network, target.batch, target.index, target.region, weights)


def _integrated(target: Target, weights: Weights, samples: int, seed: int) -> Found:
    del seed
    path = gradients.path(target, weights, samples)
    note = (
        f"From the blurred image to this one the network's score rises by {path.rise:.3g}; all parts of the map add up to "
        f"{path.total:.3g} ({path.gap:.2%} off, {path.steps} steps)."
    )
    return Found(np.asarray(path.image.sum(axis=-1), np.float32), (note,))


METHODS: dict[str, Method] = {
    "gradcam": Method("Grad-CAM", "Selvaraju 2017, arXiv:1610.02391", _gradcam, "layer"),
    "gradcam++": Method("Grad-CAM++", "Chattopadhay 2018, arXiv:1710.11063", _of_layer("gradcam++"), "layer"),
    "layercam": Method("LayerCAM", "Jiang 2021, doi:10.1109/TIP.2021.3089943", _of_layer("layercam"), "layer"),
    "scorecam": Method("Score-CAM", "Wang 2020, arXiv:1910.01279", occlusion.scorecam, "layer", samples=64),
    "cam": Method("CAM", "Zhou 2016, arXiv:1512.04150", _cam, "layer", signed=True),
    "gradient": Method("Gradient", "Simonyan 2013, arXiv:1312.6034", gradients.gradient, "image"),
    "smoothgrad": Method("SmoothGrad", "Smilkov 2017, arXiv:1706.03825", gradients.smoothgrad, "image", samples=32),
    "integrated_gradients": Method(
        "Integrated gradients", "Sundararajan 2017, arXiv:1703.01365", _integrated, "image", signed=True, samples=32
    ),
    "guided": Method(
        "Guided backpropagation",
        "Springenberg 2015, arXiv:1412.6806",
        gradients.guided,
        "image",
        note="Guided backpropagation is nearly an edge detector: it draws much the same for a network that has learned "
        "nothing (Adebayo 2018). Believe no map of it alone.",
    ),
    "occlusion": Method("Occlusion", "Zeiler 2014, arXiv:1311.2901", _occlusion, "scores", signed=True),
    "rise": Method("RISE", "Petsiuk 2018, arXiv:1806.07421", occlusion.rise, "scores", signed=True, samples=1000),
}


def method_of(name: str, samples: int | None) -> Method:
    """The method of a name, with the number of samples that was asked for.

    Raises:
        InputError: No such method, or a number of samples for one that takes none.
    """
    if name not in METHODS:
        raise unknown_name(f"`method` is {name!r}.", name, METHODS)
    method = METHODS[name]
    if samples is not None and not method.samples:
        raise InputError(
            f'`samples` is {samples}, and `method` is "{name}".',
            f"samples for one of {', '.join(one for one, its in METHODS.items() if its.samples)}.",
            "Leave it out.",
        )
    return method


def map_of(name: str, target: Target, weights: Weights = None) -> np.ndarray:
    """A method's map with other weights, for the tests of the verdict: with a quarter of the samples."""
    method = METHODS[name]
    return method.map(target, weights, samples=method.samples // QUICKER).map


def placed(name: str, target: Target, coarse: np.ndarray) -> np.ndarray:
    """A method's map on the grid of what the network is shown, 0..1: each point in the middle of what it sees."""
    size = target.batch.shape[1:-1]
    return upsampled(coarse, size, target.network.centres(name, size) if METHODS[name].needs == "layer" else None)
