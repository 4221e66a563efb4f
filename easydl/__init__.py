"""easydl: from a folder of scans and a spreadsheet to a trained, honestly tested, explained model.

The whole public face is the list in ``__init__.pyi``. Everything is loaded when it is first used (PEP 562), so that
``import easydl`` takes a moment, loads no TensorFlow and changes nothing in the process.

Research use only. Not a medical device. Not for diagnosis or treatment decisions. Not cleared or approved by any
regulator.
"""

from typing import Any

from lazy_loader import attach_stub

_lazy, __dir__, __all__ = attach_stub(__name__, __file__)
_BUILDERS = {"classifier", "image_to_image", "segmenter", "unet", "unet3d"}
# The others load it when they are called, after what needs none of it was checked.
_NEED_TENSORFLOW = {*_BUILDERS, "fit", "save_model"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("easydl-med")
    if name in _NEED_TENSORFLOW:
        from easydl._tf import load_tensorflow

        load_tensorflow()
    return _lazy(name)
