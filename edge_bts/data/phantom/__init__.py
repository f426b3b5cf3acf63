"""Simulated B-mode images of the breast with known lesion masks. Never clinical data.

``simulate`` makes one image, ``simulate_cine`` a loop whose masks move with the tissue,
``write_phantoms`` a folder that every command reads, ``speckle`` a homogeneous medium.
They need NumPy and OpenCV only, and the same seed gives the same bytes.
"""

from edge_bts.data.phantom.acoustics import Scanner, speckle
from edge_bts.data.phantom.anatomy import Anatomy
from edge_bts.data.phantom.cine import Breathing, Motion, simulate_cine
from edge_bts.data.phantom.lesion import Lesion
from edge_bts.data.phantom.scene import Phantom, PhantomCategory, simulate
from edge_bts.data.phantom.writer import write_phantoms

__all__ = [
    "Anatomy",
    "Breathing",
    "Lesion",
    "Motion",
    "Phantom",
    "PhantomCategory",
    "Scanner",
    "simulate",
    "simulate_cine",
    "speckle",
    "write_phantoms",
]
