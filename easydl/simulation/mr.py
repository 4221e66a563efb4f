"""MR physics: the signal of a T2-weighted spin echo, a finite k-space, Rician noise, an uneven coil.

One echo time, no motion, no chemical shift, no fold-over; the whole body is excited evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TR_MS, TE_MS = 4000.0, 100.0
SAMPLES = 4
"""Points per pixel and side at which the body is sampled."""
WHITE = 2000.0
"""Grey level of a signal of 1 at a gain of 1."""


@dataclass(frozen=True)
class Tissue:
    """Proton density (water is 1), T1 at 1.5 and at 3 T, T2, in ms."""

    density: float
    t1_ms: tuple[float, float]
    t2_ms: float

    def signal(self, tesla: float) -> float:
        """Spin echo: ``density * (1 - exp(-TR / T1)) * exp(-TE / T2)``, 0 to 1."""
        t1 = self.t1_ms[0] if tesla < 2 else self.t1_ms[1]
        return self.density * -math.expm1(-TR_MS / t1) * math.exp(-TE_MS / self.t2_ms)


AIR = Tissue(0.0, (1000, 1000), 100)
FAT = Tissue(0.9, (290, 370), 150)  # fast spin echo: fat stays bright
MUSCLE = Tissue(0.8, (1000, 1400), 40)
CORTEX = Tissue(0.05, (1000, 1400), 10)
YELLOW_MARROW = Tissue(0.75, (290, 370), 110)
RED_MARROW = Tissue(0.75, (550, 590), 70)
CARTILAGE = Tissue(0.75, (1000, 1200), 45)
URINE = Tissue(1.0, (3500, 4000), 1500)
WALL = Tissue(0.85, (900, 1300), 55)
STOOL = Tissue(0.7, (900, 1200), 60)
PERIPHERAL_ZONE = Tissue(0.85, (1300, 1600), 160)
TRANSITION_ZONE = Tissue(0.85, (1100, 1500), 85)
MYOMETRIUM = Tissue(0.85, (1200, 1500), 85)
MUCOSA = Tissue(0.95, (1500, 1900), 200)
VESICLES = Tissue(0.95, (1700, 2100), 320)


@dataclass(frozen=True)
class Coil:
    """How a scanner's images differ: noise (standard deviation of a channel), shading in the middle, k-space filter."""

    tesla: float
    noise: float
    middle: float
    filtered: bool


COILS = {
    "Simulated A": Coil(1.5, 0.012, 1.0, True),
    "Simulated B": Coil(3.0, 0.007, 0.72, False),
}
"""By scanner: B has the higher field, less noise, sharper edges, and the dark middle of a dielectric effect."""


def acquire(signal: np.ndarray, coil: Coil, pixel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """A magnitude image of a body given at `SAMPLES` points per pixel and side.

    Only the k-space of the image's matrix is measured, so edges ring (Gibbs) as they do in MR. Noise is Gaussian in both
    channels, so it is Rician in the magnitude: Gudbjartsson and Patz, Magn Reson Med 34:910, 1995.

    Args:
        signal: ``(SAMPLES * size, SAMPLES * size)``, 0 to 1.
        coil: The scanner.
        pixel_mm: Side of a pixel.
        rng: Draws the noise.

    Returns:
        float64 ``(size, size)``, at least 0.
    """
    many = signal.shape[0]
    size = many // SAMPLES
    first = (many - size) // 2
    kspace = np.fft.fftshift(np.fft.fft2(signal))[first : first + size, first : first + size]
    waves = np.arange(size) - size // 2
    # The middle of a pixel lies between samples; k-space is moved there, so that image and mask lie on one grid.
    ramp = np.exp(1j * np.pi * waves * (SAMPLES - 1) / many)
    kspace = kspace * ramp[:, None] * ramp[None, :]
    if coil.filtered:
        window = 0.5 + 0.5 * np.cos(np.pi * waves / size)
        kspace = kspace * window[:, None] * window[None, :]
    image = np.fft.ifft2(np.fft.ifftshift(kspace)) / SAMPLES**2
    at = (np.arange(size) - size // 2) * pixel_mm
    near = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / 90.0**2)
    noise = rng.normal(0, coil.noise, (2, size, size))
    return np.abs(image * (1 - (1 - coil.middle) * near) + noise[0] + 1j * noise[1])
