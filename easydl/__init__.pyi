# The whole public face. Everything is loaded when it is first used (PEP 562).
# data
# training
from .acceptance import accept as accept
from .augmentation import preset as preset
from .augmentation import presets as presets

# clinic
from .clinical import deidentify as deidentify

# choosing and planning
from .comparison import compare as compare
from .comparison import interval_width as interval_width
from .comparison import learning_curve as learning_curve
from .comparison import tune as tune

# words
from .errors import RESEARCH_USE as RESEARCH_USE
from .errors import EasyDLError as EasyDLError

# results
from .evaluation import evaluate as evaluate
from .evaluation import operating_point as operating_point
from .evaluation import refer as refer
from .explanation import gallery as gallery
from .explanation import saliency as saliency
from .exploration import ablation as ablation
from .exploration import explain as explain

# what a model knows
from .exploration import explain_as_tree as explain_as_tree
from .exploration import feature_maps as feature_maps
from .exploration import fragility as fragility
from .exploration import image_map as image_map
from .exploration import importance as importance
from .exploration import nearest as nearest
from .exporting import export as export
from .images import read as read

# models
from .networks import (
    classifier as classifier,
)
from .networks import (
    image_to_image as image_to_image,
)
from .networks import (
    models as models,
)
from .networks import (
    save_model as save_model,
)
from .networks import (
    segmenter as segmenter,
)
from .networks import (
    unet as unet,
)
from .networks import (
    unet3d as unet3d,
)
from .prediction import cascade as cascade
from .prediction import features as features
from .prediction import load_model as load_model
from .prediction import predict as predict
from .pretraining import pretrain as pretrain
from .reporting import describe as describe
from .reporting import report as report
from .simulation import simulate as simulate
from .studies import inspect as inspect
from .studies import load as load
from .training import fit as fit
from .traps import audit as audit

__version__: str
