from .layer_maps import feature_maps as feature_maps
from .mapping import ImageMap as ImageMap
from .mapping import image_map as image_map
from .neighbours import Nearest as Nearest
from .neighbours import nearest as nearest
