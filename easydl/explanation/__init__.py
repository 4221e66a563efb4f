"""Heatmaps of what a model looked at, in 2D and 3D, each with a verdict on whether to believe it."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
