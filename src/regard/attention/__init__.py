"""Attention as mathematics and layers: it knows no classifier and no image."""

from regard.attention.fusion import FusionAttention as FusionAttention
from regard.attention.representative import RepresentativePooling as RepresentativePooling
from regard.attention.representative import representative_pooling as representative_pooling
