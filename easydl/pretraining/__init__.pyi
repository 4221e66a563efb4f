from .pretraining import pretrain as pretrain
from .results import Pretrained as Pretrained
