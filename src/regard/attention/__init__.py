"""Attention as mathematics and layers: it knows no classifier and no image."""

from regard.attention.fusion import FusionAttention as FusionAttention
