from __future__ import annotations

import subprocess
import sys


def test_no_telemetry_is_loaded() -> None:
    """NNCF and OpenVINO run without their telemetry package, as if it were not installed."""
    code = (
        "from edge_bts.telemetry import import_openvino\n"
        "import_openvino()\n"
        "import sys\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry.')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
