"""Make .typing/edge_bts: links that show static tools the package as Python sees it.

trainers/, export/ and benchmarks/ stand beside edge_bts/ and are its subpackages by the import hook
of the editable install, which mypy and pyright cannot see. The folder is ignored by git; editors
find it by the `stubPath` and `mypy_path` of pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("trainers", "export", "benchmarks")


def main() -> None:
    """Make the links anew, so that a module that was removed is gone here too."""
    package = ROOT / ".typing" / "edge_bts"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    inside = [path for path in (ROOT / "edge_bts").iterdir() if path.name != "__pycache__"]
    for path in [*inside, *(ROOT / name for name in OUTSIDE)]:
        (package / path.name).symlink_to(os.path.relpath(path, package))


if __name__ == "__main__":
    main()
