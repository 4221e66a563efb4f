from .importances import importance as importance
from .tree_result import TreeExplanation as TreeExplanation
from .trees import explain_as_tree as explain_as_tree
from .weighed import Importance as Importance
