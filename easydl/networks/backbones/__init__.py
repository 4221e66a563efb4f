"""One file per family of backbones: pixels scaled for it in, feature maps (or a feature vector) out."""
