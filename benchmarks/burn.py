"""A process that computes and moves memory without end: ``python -m edge_bts.benchmarks.burn``.

It stands for what else a scanner does (beamforming, scan conversion): products of matrices that
fit the caches, and copies of what does not. It ends with its parent.
"""

from __future__ import annotations

import os


def main() -> None:
    """Compute until the parent is gone."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    parent = os.getppid()
    left = np.random.default_rng(0).random((256, 256), np.float32)
    source = np.zeros(4 << 20, np.float64)
    target = np.empty_like(source)
    while os.getppid() == parent:
        for _ in range(8):
            left @ left
        np.copyto(target, source)


if __name__ == "__main__":
    main()
