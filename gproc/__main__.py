"""`python -m gproc`, and the console script."""

from __future__ import annotations

import sys


def main() -> int:
    """Do what sys.argv asks; the exit status."""
    try:
        from gproc.cli.main import main as command

        return command()
    except KeyboardInterrupt:  # while modules are imported, or once more at the end
        return 130  # 128 + SIGINT


if __name__ == "__main__":
    sys.exit(main())
