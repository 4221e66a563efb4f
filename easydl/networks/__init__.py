"""Networks by name, as plain flat Keras models, and their files. Nothing is loaded until it is used."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
