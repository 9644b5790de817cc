"""`python -m gproc.adapters.gridftp`: the same as the command `gproc-gridftp-master`."""

import sys

from gproc.adapters.gridftp.command import main

if __name__ == "__main__":
    sys.exit(main())
