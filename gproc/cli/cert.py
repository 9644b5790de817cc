"""`gproc cert NAME... --out DIR`: makes what nodes need to join; scripts/copytonodes.sh copies it."""

from __future__ import annotations

import os

from gproc.cli.options import CertOptions
from gproc.cli.trace import Trace
from gproc.errors import UsageError
from gproc.trust.authority import has_authority, open_authority, provision
from gproc.trust.home import gproc_home
from gproc.trust.names import check_host_name


def run(options: CertOptions) -> int:
    """Write DIR/NAME/{ca.crt,ticket.pub,node.crt,node.key} for each name and print each directory.

    The cluster's keys are made if there are none yet, so nodes can be provisioned before the first `gproc m`.

    Raises: UsageError if several nodes would share an address: each could then pose as the others.
    """
    if options.addresses and len(options.names) > 1:
        raise UsageError("--address belongs to one node: run `gproc cert NAME --address ...` for each of them")
    for name in options.names:
        check_host_name(name)
    trace = Trace(options.debug)
    home = gproc_home(os.environ)
    trace.step(f"{'opens' if has_authority(home) else 'makes'} the cluster's authority in {home}")
    authority = open_authority(home, create=True)
    trace.step(f"cluster {authority.cluster}")
    for name in options.names:
        directory = os.path.join(options.out, name)
        trace.step(f"makes a key and a certificate for {', '.join((name, *options.addresses))} in {directory}")
        provision(authority, name, options.addresses, directory)
        print(directory)
    return 0
