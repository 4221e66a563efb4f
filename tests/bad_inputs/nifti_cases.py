"""Group N of the bad inputs."""

from bad_inputs.case import Case

CASES: list[Case] = []
