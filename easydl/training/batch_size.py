"""`batch_size="auto"`: as many images in a step as memory holds and the number of images makes sensible. It trains nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from easydl.training.patch_plan import KEPT, MEMORY_FRACTION

STEPS_LEFT = 16
"""In an epoch: with fewer, larger steps a small study is trained too little."""
MOST = 256
STATES = 4
"""Arrays of the size of the weights: themselves, their gradients, and the two averages of Adam."""


@dataclass(frozen=True)
class BatchByMemory:
    """The choice and what it rests on.

    Attributes:
        batch: Images in a step, a power of two.
        usual: What would be used without it.
        fits: Images that memory holds in a step; None where nobody knows how much there is.
        memory_gb: Of the GPU, or of the machine.
        image_mb: What a step needs for one image.
    """

    batch: int
    usual: int
    fits: int | None
    memory_gb: float | None
    image_mb: float

    @property
    def rate(self) -> float:
        """How many times the usual learning rate: the square root of the ratio (Malladi 2022, arXiv:2205.10287, for Adam)."""
        return math.sqrt(self.batch / self.usual)

    @property
    def sentence(self) -> str:
        """The choice and its reason."""
        memory = (
            "the memory of this computer is not known"
            if self.fits is None
            else f"{self.memory_gb:g} GB of memory hold about {self.fits:,} (an image needs {self.image_mb:.3g} MB)"
        )
        rate = "" if self.batch == self.usual else f"; the learning rate is {self.rate:.2g} times the usual one"
        return (
            f"Batch size {self.batch}: {memory}, and an epoch keeps {STEPS_LEFT} steps where there are images enough"
            f"{rate}. Where a step needs more after all, it is halved."
        )


def batch_by_memory(
    images: int, usual: int, activations: int, parameters: int, memory_gb: float | None
) -> BatchByMemory:
    """Choose the batch size.

    Args:
        images: In the training part.
        usual: The batch size without it.
        activations: Values that all layers put out for one image.
        parameters: Of the network.
        memory_gb: Of the GPU, or of the machine; None where it is not known.

    Example:
        >>> batch_by_memory(1000, 32, 10_000_000, 1_000_000, 8.0).batch
        32
        >>> batch_by_memory(10_000, 32, 10_000_000, 1_000_000, 2.0).batch
        8
    """
    image = 4.0 * activations * KEPT
    fits = None
    if memory_gb is not None:
        fits = max(1, int((memory_gb * 1e9 * MEMORY_FRACTION - 4.0 * STATES * parameters) // image))
    wanted = min(max(usual, images // STEPS_LEFT), MOST)
    return BatchByMemory(_power_of_two(min(wanted, fits or wanted)), usual, fits, memory_gb, image / 1e6)


def _power_of_two(most: int) -> int:
    return 1 << (max(1, most).bit_length() - 1)


def of_classifier(model: Any, images: int, usual: int) -> BatchByMemory:
    """The choice for a classifier on this machine."""
    from easydl.machine import device, gpu_memory_gb, memory_gb
    from easydl.networks.cost import outputs

    memory = gpu_memory_gb() if "GPU" in device() else memory_gb()
    return batch_by_memory(images, usual, outputs(model), model.count_params(), memory)
