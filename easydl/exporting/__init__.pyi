from .exporting import export as export
from .pruning import pruned as pruned
from .results import Export as Export
