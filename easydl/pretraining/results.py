"""What `easydl.pretrain` gives: a network whose weights ``pretrained=`` takes, and how its losses fell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.errors import RESEARCH_USE
from easydl.figures import COLOURS, figure_of, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A network pretrained without labels. Its last layer has learned nothing: train it with `easydl.fit` first.

    Attributes:
        model: The network, as `easydl.classifier` builds it.
        method: How it was pretrained.
        losses: Of each stage (layers, for ``stacked_denoising``) the mean loss of every epoch.
        images: How many images it has seen.
        patients: Of how many patients; 0 where they are not known.
        notes: What was chosen, and what follows for tests.
    """

    model: Any
    method: str
    losses: dict[str, list[float]]
    images: int
    patients: int
    notes: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> Path:
        """Write the weights as a ``.keras`` file, which ``pretrained=`` takes by its path."""
        from easydl.networks import save_model

        return save_model(self.model, path)

    @property
    def sentence(self) -> str:
        """What was learned from, and how the loss fell."""
        who = f" of {self.patients} patients" if self.patients else ""
        fell = "; ".join(
            f"{'loss' if len(self.losses) == 1 else name} {one[0]:.3f} to {one[-1]:.3f} in {len(one)} epochs"
            for name, one in self.losses.items()
        )
        return f"{self.model.name} pretrained by {self.method} on {self.images} images{who} without labels: {fell}."

    def __repr__(self) -> str:
        return f"<{self.sentence} {RESEARCH_USE}>"

    def show(self, ax: Axes | None = None) -> Figure:
        """The losses, epoch by epoch, as fractions of the first."""
        axes = new_figure(5.5, 3.2).add_subplot() if ax is None else ax
        for number, (name, losses) in enumerate(self.losses.items()):
            along = range(1, len(losses) + 1)
            axes.plot(along, [one / losses[0] for one in losses], color=COLOURS[number % len(COLOURS)], label=name)
        axes.set(xlabel="epoch", ylabel="loss, as a fraction of the first epoch's", ylim=(0, None))
        axes.set_title(f"{self.method}: {self.images} images", loc="left", fontsize=9)
        if len(self.losses) > 1:
            axes.legend(frameon=False, fontsize=8)
        figure = figure_of(axes)
        if ax is None:
            sign(figure)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Everything but the network, as JSON takes it."""
        return {
            "network": self.model.name,
            "method": self.method,
            "images": self.images,
            "patients": self.patients or None,
            "losses": self.losses,
            "notes": self.notes,
            "research_use": RESEARCH_USE,
        }
