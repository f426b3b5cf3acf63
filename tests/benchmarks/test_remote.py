"""Measuring on another machine: a real sshd on this one, and a stand-in where there is none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_bts.benchmarks.remote import Remote, bench_remote
from edge_bts.benchmarks.result import load_result
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

SHORT: dict[str, Any] = {
    **{"seconds": 0.05, "frames": 6, "warmup_seconds": 0.0, "height": 64, "width": 80},
    **{"roofline": False, "layers": False},
}


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A network of one operator, as a file to send."""
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, 1, (1, 1, 32, 32)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "a peer.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A command that runs here what ssh would run there."""
    script = tmp_path / "fake-ssh"
    script.write_text(f'#!/bin/sh\nTMPDIR={tmp_path} exec sh -c "$2"\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[str]:
    """The ssh command that reaches a server on this machine."""
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd on this machine (Debian: openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its rights
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPidFile {tmp_path}/pid\n"
    )
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", str(tmp_path / "config")], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            pytest.skip("sshd does not start here")
        yield (
            f"ssh -F none -p {port} -i {tmp_path}/user -o BatchMode=yes -o LogLevel=ERROR "
            "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        )
    finally:
        process.terminate()
        process.wait()


def test_a_result_comes_back_through_sshd(sshd: str, peer: Path, tmp_path: Path) -> None:
    """The command line sends the file, measures there and writes its outputs here."""
    output, page = tmp_path / "result.json", tmp_path / "page.html"
    command = [sys.executable, "-m", "edge_bts.cli", "bench", str(peer), "--quick"]
    command += ["--remote", "127.0.0.1", "--ssh", sshd, "--remote-python", sys.executable]
    command += ["--set", "bench.roofline=false", "--set", "bench.layers=false", "--fps", "200"]
    command += ["-o", str(output), "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = load_result(output)
    assert found.verdict == "QUICK"
    assert found.settings.fps == 200
    assert found.subjects[0].name == "a peer.onnx"
    assert "a peer, onnxruntime fp32" in done.stdout
    assert page.stat().st_size > 1000


def test_nothing_stays_there(stand_in: str, peer: Path, tmp_path: Path) -> None:
    """The folder that was made is removed, whether the benchmark ends well or not."""
    remote = Remote("board", stand_in, sys.executable)
    found = bench_remote(remote, [peer], settings=BenchSettings(**SHORT))
    assert found.rows
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"On board: Expected bad\.onnx"):
        bench_remote(remote, [tmp_path / "bad.onnx"], settings=BenchSettings(**SHORT))
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_a_wheel_is_used_from_the_folder(stand_in: str, peer: Path, tmp_path: Path) -> None:
    """What the wheel holds comes before what is installed, and needs no installer."""
    import zipfile

    wheel = tmp_path / "edge_bts-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("edge_bts/__init__.py", "")
        archive.writestr("edge_bts/cli/__init__.py", "")
        archive.writestr(
            "edge_bts/cli/__main__.py",
            "import sys; sys.exit('edge-bts: this is the wheel')",
        )
    bare = tmp_path / "python"  # without site-packages, whose editable install would come first
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    remote = Remote("board", stand_in, str(bare), wheel)
    with pytest.raises(EdgeBtsError, match="On board: this is the wheel"):
        bench_remote(remote, [peer], settings=BenchSettings(**SHORT))


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x"])
def test_a_host_is_no_option(host: str, peer: Path) -> None:
    """What ssh would take for an option is refused."""
    with pytest.raises(InputError, match="user@host"):
        bench_remote(Remote(host), [peer], settings=BenchSettings(**SHORT))


def test_a_machine_that_cannot_be_reached(peer: Path, tmp_path: Path) -> None:
    """No ssh, a refused connection, and a machine without edge-bts are errors of environment."""
    for ssh in (str(tmp_path / "no-such-ssh"), "false"):
        with pytest.raises(EnvironmentMismatchError):
            bench_remote(Remote("board", ssh), [peer], settings=BenchSettings(**SHORT))


def test_a_machine_without_edge_bts(stand_in: str, peer: Path) -> None:
    """What the shell there says comes back as one sentence."""
    bare = Remote("board", stand_in, "no-such-python")
    with pytest.raises(EnvironmentMismatchError, match="On board"):
        bench_remote(bare, [peer], settings=BenchSettings(**SHORT))
