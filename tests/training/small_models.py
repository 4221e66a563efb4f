"""Small networks for the tests of training."""

import keras

import easydl
from easydl.networks import attach, feature_extractor, metadata_of
from easydl.studies.dataset import decode


def tiny(study, **options):
    """The smallest classifier for a study."""
    return easydl.classifier("tiny", study, size=32, **options)


def as_pretrained(model, study=None):
    """A model that counts as pretrained, so that both stages run without a download.

    With a study its batch normalisation gets statistics, without which a random network passes nothing on.
    """
    if study is not None:
        images = decode(study, size=(32, 32), channels=1, units="0-255").astype("float32")
        backbone = feature_extractor(model)
        norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        backbone(images, training=True)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return attach(model, metadata_of(model).model_copy(update={"pretrained": "made for this test"}))
