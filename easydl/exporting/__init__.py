"""A model for other programs: converted, made smaller, compared with what it was. It trains nothing."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
