"""Which process may command which, and how each end proves its identity (docs/architecture.md, "Trust lines").

The input is the files of `$GPROC_HOME`, a finished TLS handshake, a signed ticket or a connected Unix socket.  The
output is one of a few values (`Identity`, `PeerName`, `Grant`, `Ticket`, `Caller`), or a TrustError with the reason.

Trust: it relies on the kernel (SO_PEERCRED, file modes), this user's own `$GPROC_HOME`, and the signature of the
cluster's master.  A certificate of the cluster's CA proves a name and nothing more.  A slave obeys only the parent that
it meant to dial (`tls.check_parent`), and runs only jobs that the master signed for it, once (`ticket.TicketVerifier`).
So a compromised rack master can withhold work, but cannot invent, change, redirect or repeat it.

It judges others by no clock but the master's, so that a node without a battery is as safe as any other.  It never
prints, and never opens a path that a peer named.
"""
