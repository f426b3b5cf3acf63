"""The command line ``edge-bts``: one command a module, one sentence an error.

Each command module has ``register(app)``; the modules are imported when the program starts, so
they import typer and the standard library at the top and everything heavy inside the command.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback

import typer

from edge_bts import __version__
from edge_bts.errors import EdgeBtsError

__all__ = ["app", "main"]

_INTERRUPTED = 130
_COMMANDS = (
    "data",
    "train",
    "distill",
    "study",
    "eval",
    "export",
    "key",
    "sign",
    "build",
    "inspect",
    "verify",
    "compare",
    "run",
    "replay",
    "view",
    "bench",
    "doctor",
)

app = typer.Typer(
    name="edge-bts",
    help="Breast-tumour segmentation in ultrasound, from training to the scanner. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


for _name in _COMMANDS:
    importlib.import_module(f"edge_bts.cli._{_name}").register(app)


def main() -> None:
    """Run the command line and exit with a documented code.

    0 ok · 1 internal error · 2 usage or bad input · 3 environment · 4 accuracy gate ·
    5 latency gate · 6 measurement invalid · 7 integrity · 130 interrupted.
    """
    # A pipeline that stops a run sends SIGTERM; it must unwind as Ctrl-C does, so that
    # temporary files are removed and the last checkpoint stands.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except EdgeBtsError as error:
        if os.environ.get("EDGE_BTS_TRACEBACK"):
            traceback.print_exc()
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("Interrupted; what was finished is kept.", _INTERRUPTED)
    except typer.Abort:
        _fail("Interrupted; what was finished is kept.", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        # typer 0.29 carries its own click, older ones import it: the shape tells, not the class.
        if callable(show := getattr(error, "show", None)) and hasattr(error, "exit_code"):
            show()
            sys.exit(2)
        traceback.print_exc()
        _fail("Internal error: the lines above belong in a report to the project.", 1)
    if code == _INTERRUPTED:  # typer took the interrupt and left the code alone
        _fail("Interrupted; what was finished is kept.", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"edge-bts: {message}", file=sys.stderr)
    sys.exit(code)
