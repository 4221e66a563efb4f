"""One file or one series becomes a Scan: pixels, geometry and a header without identifiers."""

from easydl.images.reading import read
from easydl.images.resampling import prepare
from easydl.images.scan import Scan

__all__ = ["Scan", "prepare", "read"]
