"""What a model has learned, seen over a whole study: the image map, the nearest cases, the maps inside a network."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
