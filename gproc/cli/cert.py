"""`gproc cert NAME... --out DIR`: makes what nodes need to join; scripts/copytonodes.sh copies it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gproc.cli.options import CertOptions
from gproc.cli.trace import Trace
from gproc.errors import TrustError, UsageError
from gproc.shown import quoted_text
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
    check_words(options.names, options.addresses)
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


def check_words(hosts: Sequence[str], addresses: Sequence[str] = ()) -> None:
    """Raises: UsageError if a host or an address that was typed is none.  The same in a certificate is a TrustError."""
    from ipaddress import ip_address

    for host in hosts:
        try:
            check_host_name(host)
        except TrustError as error:
            raise UsageError(str(error)) from error
    for address in addresses:
        try:
            ip_address(address)
        except ValueError as error:
            raise UsageError(f"--address: {quoted_text(address)} is no IP address, such as 10.1.30.7") from error
