"""Attention as mathematics and layers: it knows no classifier and no image."""

from regard.attention.entmax import entmax as entmax
from regard.attention.entmax import sparsemax as sparsemax
from regard.attention.fusion import FusionAttention as FusionAttention
from regard.attention.representative import RepresentativePooling as RepresentativePooling
from regard.attention.representative import representative_pooling as representative_pooling
from regard.attention.weights import spherical_softmax as spherical_softmax
