"""Networks, baselines and amounts of data side by side, by patient. It draws no report and knows no run folder."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
