from .deid_report import Deidentified as Deidentified
from .deidentification import deidentify as deidentify
