"""`gproc-rsh`: a command on one node, for programs that expect ssh: rsync, git, Ansible, launchers of MPI, scp.

`words` reads the command line as ssh(1) does (a rule), `login` has what the node's shell is told, and `main` runs it as
`gproc e` runs a program of the node itself.  docs/rsh.md is the guide.
"""

from __future__ import annotations

from typing import Final

SWITCHES: Final = "GPROC_RSH"
"""The variable with switches of `gproc e`, quoted as in a shell."""

TIED: Final = "GPROC_RSH_TIED"
"""If this variable is set, it is the number of a launcher: we are killed if the process that started us dies, and do
nothing if the launcher is gone already."""
