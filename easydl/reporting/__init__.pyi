from .description import Answer as Answer
from .description import Description as Description
from .description import describe as describe
from .page import report as report
from .progress import status as status
from .record import RunRecord as RunRecord
