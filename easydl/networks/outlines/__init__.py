"""One file per family of networks that outline structures: scaled pixels in, maps before the logits out."""
