from .deid_report import Deidentified as Deidentified
from .deidentification import deidentify as deidentify
from .seg import SERIES_DESCRIPTION as SERIES_DESCRIPTION
from .seg import write_seg as write_seg
