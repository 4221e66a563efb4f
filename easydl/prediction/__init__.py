"""From a model and images to predictions: tables for classifiers, masks and images on the scan's own grid. It trains nothing."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
