"""A hospital's own cases put to a model that somebody else trained: are they alike, and does it hold here? It trains nothing."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
