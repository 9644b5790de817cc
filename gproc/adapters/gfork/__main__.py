"""`python -m gproc.adapters.gfork`: the same as the command `gfork`."""

import sys

from gproc.adapters.gfork.command import main

if __name__ == "__main__":
    sys.exit(main())
