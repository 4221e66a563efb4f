"""What the app keeps and starts: remembered studies, uploads within limits, runs that can be found again."""

from easydl.workspace.cases import Case, Cases
from easydl.workspace.choices import Choice, choices, encoders, pace
from easydl.workspace.home import Workspace
from easydl.workspace.jobs import Runs
from easydl.workspace.kinds import KINDS, pretrained, question
from easydl.workspace.studies import Studies, StudyEntry, columns_of

__all__ = [
    "KINDS",
    "Case",
    "Cases",
    "Choice",
    "Runs",
    "Studies",
    "StudyEntry",
    "Workspace",
    "choices",
    "columns_of",
    "encoders",
    "pace",
    "pretrained",
    "question",
]
