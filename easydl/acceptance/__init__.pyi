from .accepting import accept as accept
from .result import Acceptance as Acceptance
