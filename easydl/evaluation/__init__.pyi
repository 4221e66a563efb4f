from .classification import classification_metrics as classification_metrics
from .evaluating import evaluate as evaluate
from .multilabel import multilabel_metrics as multilabel_metrics
from .ordinal import ordinal_metrics as ordinal_metrics
from .reconstruction import reconstruction_metrics as reconstruction_metrics
from .regression import regression_metrics as regression_metrics
from .results import Metrics as Metrics
from .segmentation import segmentation_metrics as segmentation_metrics
