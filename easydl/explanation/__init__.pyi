from .explain import saliency as saliency
from .heatmap import Heatmap as Heatmap
from .verdict import Verdict as Verdict
