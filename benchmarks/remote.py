"""The same benchmark on another machine: files there by ssh, the result back.

Only ``ssh`` here and ``sh``, ``tar`` and Python there are needed. Everything lies in one temporary
folder, which is removed at the end.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edge_bts.benchmarks.result import BenchResult
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import (
    EdgeBtsError,
    EnvironmentMismatchError,
    InputError,
    IntegrityError,
    MeasurementError,
)

__all__ = ["Remote", "bench_remote"]

_ERRORS: dict[int, type[EdgeBtsError]] = {
    kind.exit_code: kind
    for kind in (InputError, EnvironmentMismatchError, MeasurementError, IntegrityError)
}
_PACK = 'd=$(mktemp -d) && tar -xf - -C "$d" && printf %s "$d"'
# When our end closes the input, the benchmark there is told to stop and prints what it has.
_RUN = """cd {folder} && PYTHONPATH={folder}/wheel {python} -m edge_bts.cli bench {arguments} \
</dev/null & p=$!
exec 3<&0
{{ cat <&3; kill -TERM $p; }} >/dev/null 2>&1 & w=$!
wait $p; c=$?
kill $w 2>/dev/null
exit $c"""


@dataclass
class Remote:
    """Where to measure.

    Attributes:
        host: As ssh takes it.
        ssh: The command, with options of its own.
        python: The interpreter there.
        wheel: A wheel of edge-bts to use there; None uses what is installed.
    """

    host: str
    ssh: str = "ssh"
    python: str = "python3"
    wheel: Path | None = None


@dataclass
class _Luggage:
    """Files to send, and what to call them there."""

    content: io.BytesIO = field(default_factory=io.BytesIO)
    count: int = 0

    def __post_init__(self) -> None:
        self.tar = tarfile.open(fileobj=self.content, mode="w")  # noqa: SIM115 - closed by pack()

    def add(self, path: Path) -> str:
        """Add a file or folder, an IR with its ``.bin``; return its path there.

        That is below the temporary folder.
        """
        folder, self.count = str(self.count), self.count + 1
        parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
        for part in parts:
            try:
                self.tar.add(part, f"{folder}/{part.name}")
            except OSError as error:
                raise InputError(
                    f"Expected a file or bundle at {part}, but reading it failed: {error.strerror}."
                ) from None
        return f"{folder}/{path.name}"

    def pack(self) -> bytes:
        """Return all of them."""
        self.tar.close()
        return self.content.getvalue()


def bench_remote(
    remote: Remote,
    subjects: Sequence[Path],
    *,
    settings: BenchSettings,
    trust: Sequence[Path] = (),
    allow_unsigned: bool = False,
    teachers: Sequence[str] = (),
    student: Path | None = None,
    evaluations: Sequence[str] = (),
) -> BenchResult:
    """Measure on another machine; the arguments are those of :func:`edge_bts.benchmarks.bench`.

    An interrupt is passed on: the machine there then sends what it has.

    Raises:
        InputError: A host that is none, or a file that cannot be read, here or there.
        EnvironmentMismatchError: ssh fails, or there is no edge-bts there.
        EdgeBtsError: Whatever the benchmark there ended with, with its own sentence.
    """
    if not remote.host or remote.host.startswith("-"):
        raise InputError(f"Expected --remote user@host, but got {remote.host!r}.")
    luggage = _Luggage()
    arguments = [luggage.add(path) for path in subjects]
    for path in trust:
        arguments += ["--trust", luggage.add(path)]
    arguments += ["--allow-unsigned"] if allow_unsigned else []
    for teacher in teachers:
        path = Path(teacher)
        arguments += ["--teacher", luggage.add(path) if path.exists() else teacher]
    if student is not None:
        arguments += ["--student", luggage.add(student)]
    for text in evaluations:
        who, equals, name = text.rpartition("=")
        arguments += ["--eval", f"{who}{equals}{luggage.add(Path(name))}"]
    for name in settings.model_fields_set:
        if (value := getattr(settings, name)) is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["--set", f"bench.{name}={text}"]
    wheel = luggage.add(remote.wheel) if remote.wheel is not None else None
    folder = _ssh(remote, _PACK, luggage.pack())
    try:
        if wheel is not None:
            unpack = f"cd {folder} && {shlex.quote(remote.python)} -m zipfile -e {wheel} wheel"
            _ssh(remote, unpack, b"")
        script = _RUN.format(
            folder=folder,
            python=shlex.quote(remote.python),
            arguments=" ".join(map(shlex.quote, [*arguments, "--json"])),
        )
        return _run(remote, script)
    finally:
        _ssh(remote, f"rm -rf {folder}", b"")


def _ssh(remote: Remote, command: str, content: bytes) -> str:
    """Run a command there and return what it prints."""
    try:
        done = subprocess.run(
            [*shlex.split(remote.ssh), remote.host, command],
            input=content,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise EnvironmentMismatchError(
            f"Expected {remote.ssh} to run, but it does not: {error.strerror}; install ssh."
        ) from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise EnvironmentMismatchError(
            f"Expected {remote.host} to take files by ssh, but it ended with code "
            f"{done.returncode} ({lines[-1] if lines else 'no word'}); try `ssh {remote.host}`."
        )
    return done.stdout.decode(errors="replace").strip()


def _run(remote: Remote, script: str) -> BenchResult:
    process = subprocess.Popen(
        [*shlex.split(remote.ssh), remote.host, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is passed on by closing the input
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        try:
            output = process.stdout.read()
        except KeyboardInterrupt:
            process.stdin.close()
            output = process.stdout.read()
        said = process.stderr.read().strip()
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    try:
        return BenchResult.model_validate_json(output)
    except ValidationError:
        last = said.splitlines()[-1] if said else "no word"
        if code == 130:
            raise KeyboardInterrupt from None
        kind = _ERRORS.get(code, EdgeBtsError)
        if "No module named" in last or code in (126, 127):
            kind = EnvironmentMismatchError
        raise kind(f"On {remote.host}: {last.removeprefix('edge-bts: ')}") from None
