from .page import report as report
from .progress import status as status
from .record import RunRecord as RunRecord
