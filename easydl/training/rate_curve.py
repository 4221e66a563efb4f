"""What a range test of learning rates measured, and the rate it proposes (Smith 2017). It trains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from easydl.errors import RESEARCH_USE
from easydl.fileio import replacing, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "learning_rates"
WIDTH = 3.0
"""Standard deviation of the smoothing, in steps. It is centred: an average of the past alone lags, and proposes too high a rate."""
SETTLED = 10
"""Steps at the beginning, whose loss is that before the test."""
FALLEN = 0.9
"""How much of its fall the loss has made at the rate that is proposed. The place of the steepest slope is the choice of others;
one of noisy slopes is a lottery, and beyond the fall lies a plateau of any length."""
ROSE = 1.25
"""Of the lowest smoothed loss: beyond it the loss has risen."""
SAFE = 10.0
"""A rate this many times below that at which the loss rises."""
LEAST_FALL = 2.0
"""In standard errors of the smoothed loss: a smaller fall is none."""


@dataclass(frozen=True, repr=False)
class LearningRates:
    """The loss of one training step after the other, each with a higher learning rate.

    Attributes:
        rates: Of each step, ascending.
        losses: Of each step's batch, before it.
        planned: The rate that would be used without the test.

    Example:
        >>> import numpy as np
        >>> rates = np.geomspace(1e-6, 1, 100)
        >>> losses = 1 / (1 + (rates / 3e-3) ** 0.8) + 0.1 * (rates / 0.1) ** 2
        >>> 3e-4 < LearningRates(tuple(rates), tuple(losses), 1e-3).chosen < 3e-2
        True

    References:
        Smith LN. Cyclical learning rates for training neural networks. WACV 2017, arXiv:1506.01186, section 3.3.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    planned: float

    @property
    def smoothed(self) -> np.ndarray:
        """The losses, each averaged with those of its neighbours."""
        return gaussian_filter1d(np.asarray(self.losses, float), WIDTH, mode="nearest")

    @property
    def lowest(self) -> int:
        """The step with the lowest smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def fallen(self) -> int:
        """The first step at which the smoothed loss has made nine tenths of its fall."""
        smoothed, start = self.smoothed, self.start
        return int(np.flatnonzero(smoothed <= start - FALLEN * (start - smoothed[self.lowest]))[0])

    @property
    def start(self) -> float:
        """The loss before the test: that of the first steps, whose rates change nothing."""
        return float(np.mean(self.losses[:SETTLED]))

    @property
    def rises(self) -> float | None:
        """The rate from which on the loss is above its lowest for good; None where it never rises."""
        smoothed, lowest = self.smoothed, self.lowest
        above = np.flatnonzero(smoothed[lowest:] > ROSE * smoothed[lowest])
        return self.rates[lowest + int(above[0])] if len(above) else None

    @property
    def falls(self) -> bool:
        """Whether the loss falls by more than its noise."""
        before = self.lowest + 1
        if before < 2 * SETTLED:
            return False
        noise = np.std(np.diff(self.losses[:before])) / np.sqrt(2)
        # Of a Gaussian average: its weights' squares add up to this.
        error = noise / np.sqrt(2 * np.sqrt(np.pi) * WIDTH)
        return self.start - float(self.smoothed[self.lowest]) > LEAST_FALL * np.hypot(error, noise / np.sqrt(SETTLED))

    @property
    def chosen(self) -> float:
        """The proposal: where the loss has fallen; where it never falls, the planned rate or less."""
        if self.falls:
            return float(f"{self.rates[self.fallen]:.2g}")
        return self.planned if self.rises is None else min(self.planned, self.rises / SAFE)

    @property
    def sentence(self) -> str:
        """The choice and its reason."""
        how = f"found in {len(self.rates)} steps on a copy of the weights"
        rises = "" if self.rises is None else f"; from {self.rises:.2g} on it rises"
        if self.falls:
            return (
                f"Learning rate {self.chosen:.2g}, {how}: there the loss has made nine tenths of its fall, which "
                f"ends at {self.rates[self.lowest]:.2g}{rises}. Without the search the rate would be {self.planned:.2g}."
            )
        kept = "the planned rate is kept" if self.chosen == self.planned else "a tenth of that is taken"
        return f"Learning rate {self.chosen:.2g}, {how}: no rate lowers the loss beyond its noise{rises}; {kept}."

    @property
    def table(self) -> pd.DataFrame:
        """One row for each step: learning_rate, loss, smoothed."""
        return pd.DataFrame({"learning_rate": self.rates, "loss": self.losses, "smoothed": self.smoothed})

    def __repr__(self) -> str:
        return f"{self.sentence} {RESEARCH_USE}"

    def show(self, ax: Axes | None = None) -> Figure:
        """The loss against the learning rate, with the rate that was chosen."""
        from easydl.figures import BLUE, GREY, ORANGE, figure_of, frame, new_figure, sign

        own = new_figure(7, 4.2) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        ax.plot(self.rates, self.losses, ".", color=GREY, markersize=4, label="loss of each step")
        ax.plot(self.rates, self.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
        ax.axvline(self.chosen, color=ORANGE, linewidth=1.5, label=f"chosen: {self.chosen:.2g}")
        if self.planned != self.chosen:
            ax.axvline(self.planned, color=GREY, linewidth=1, linestyle=":", label=f"without it: {self.planned:.2g}")
        # What is beyond the rise would press all else flat.
        until = self.losses[: self.lowest + 1]
        low, high = min(until), max(*until, *self.losses[:SETTLED])
        room = max(high - low, 0.1 * abs(high), 1e-6)
        ax.set_ylim(low - 0.3 * room, high + 0.3 * room)
        ax.set_xscale("log")
        ax.set(xlabel="learning rate", ylabel="training loss")
        ax.set_title(f"Learning rates tried in {len(self.rates)} steps", fontsize=10.5, loc="left")
        ax.legend(edgecolor="none", framealpha=0.85, fontsize=9, loc="lower left")
        frame(ax, "y")
        if own is not None:
            sign(own)
        return figure_of(ax)

    def save(self, folder: str | Path) -> Path:
        """Write ``learning_rates.csv`` and ``learning_rates.png`` into a folder. Returns the path of the table."""
        folder = Path(folder)
        table = self.table.assign(planned=self.planned)
        with replacing(folder / f"{NAME}.png") as draft:
            self.show().savefig(draft, format="png", bbox_inches="tight")
        return write_text(folder / f"{NAME}.csv", f"# {RESEARCH_USE}\n{table.to_csv(index=False)}")

    @classmethod
    def open(cls, folder: str | Path) -> LearningRates | None:
        """What `save` wrote into a folder, or None where nothing readable lies there."""
        try:
            table = pd.read_csv(Path(folder) / f"{NAME}.csv", skiprows=1)
            return cls(tuple(table["learning_rate"]), tuple(table["loss"]), float(table["planned"].iloc[0]))
        except (OSError, ValueError, KeyError, IndexError):
            return None
