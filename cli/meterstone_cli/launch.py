"""Where the installed command begins: a Ctrl-C ends it without a traceback also while it is being loaded."""

import signal
import sys


def main() -> None:
    """Load the command line, and run it."""
    try:
        # Not at the top: it takes a good part of a second.
        from meterstone_cli.__main__ import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
