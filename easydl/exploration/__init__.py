"""What a model knows, with plain learners beside it: a tree of its answers, what each input is worth. It trains no network."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
