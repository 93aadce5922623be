"""Where the `secateur` command starts: Ctrl-C while it loads is one line too."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from secateur.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("secateur: stopped\n")
        sys.exit(130)
