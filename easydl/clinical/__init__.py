"""DICOM out of easydl: results for a PACS, and data sets without identities. Everything is loaded when first used."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
