from .explain import saliency as saliency
from .gallery import gallery as gallery
from .heatmap import Heatmap as Heatmap
from .verdict import Verdict as Verdict
