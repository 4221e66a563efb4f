"""A model and images become predictions: tables for classifiers, masks on the source grid for segmenters."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
