"""A run folder becomes one page that opens anywhere, offline. It computes no number."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
