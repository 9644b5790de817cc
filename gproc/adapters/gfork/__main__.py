"""`python -m gproc.adapters.gfork`: the same as the command `gfork`."""

import sys

from gproc.adapters.gfork.command import main

sys.exit(main())
