"""`python -m gproc.adapters.gridftp`: the same as the command `gproc-gridftp-master`."""

import sys

from gproc.adapters.gridftp.command import main

sys.exit(main())
