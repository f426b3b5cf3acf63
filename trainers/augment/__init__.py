"""Augmentation made for B-mode: batched on the training device, every change a physical one.

Each change is a short function whose first line is its physical reason: :mod:`.echo` holds what
tissue and receiver do to the echo, :mod:`.display` what scan converter, screen and archive do to
the picture, :mod:`.space` what moves. ``edge-bts data augment`` draws them all.
"""

from edge_bts.trainers.augment.batch import Augment, Augmented, reasons
from edge_bts.trainers.augment.settings import CHANGES, AugmentSettings
from edge_bts.trainers.augment.space import warp

__all__ = ["CHANGES", "Augment", "AugmentSettings", "Augmented", "reasons", "warp"]
