"""Opens DICOM files one after another under limits, and says what became of each, as JSON.

``python open_dicom.py MEMORY_MIB CPU_S FILE...``. The limits hold for this process, which stands
for a user's; each decoder has its own besides. A decoder is forked from here instead of started
anew, so that a hundred of them do not import pydicom a hundred times.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pylibjpeg

from edge_bts.dicom import reading, worker
from edge_bts.errors import InputError

__all__ = ["pylibjpeg"]


class Forked:
    """Stands in for ``Popen``; ``peaks`` has the largest resident size of each decoder in MiB."""

    peaks: ClassVar[list[float]] = []

    def __init__(self, command: list[str], *, stdin: Any, **_: Any) -> None:
        read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.dup2(stdin.fileno(), 0)
                os.dup2(write, 1)
                os.closerange(3, 64)
                sys.argv = [command[0], command[-1]]
                worker.main()
            finally:
                os._exit(0)
        os.close(write)
        self.stdout = os.fdopen(read, "rb")
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self._pid, 9)

    def wait(self, _: float | None = None) -> int:
        if self._code is None:
            _, status, usage = os.wait4(self._pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
            self.peaks.append(usage.ru_maxrss / 1024)
        return self._code


def look(path: Path) -> str:
    """Return the sentence that a file ends in, or what came of it else."""
    try:
        count = len(list(reading.read_cine(reading.open_cine(path))))
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__} escaped: {error}"
    return f"{count} frames"


def main() -> None:
    """Open the files of the command line."""
    memory, seconds = (int(number) for number in sys.argv[1:3])
    resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    reading.subprocess.Popen = Forked  # type: ignore[misc, assignment]
    found = {path: look(Path(path)) for path in sys.argv[3:]}
    print(json.dumps({"found": found, "peak_mib": max(Forked.peaks, default=np.inf)}))


if __name__ == "__main__":
    main()
