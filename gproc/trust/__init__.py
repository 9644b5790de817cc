"""Who may command whom, and how each end proves it (DESIGN section 5).

Takes: the files of `$GPROC_HOME`, a finished TLS handshake, a signed ticket, a connected Unix socket.
Gives: one of a few values (`Identity`, `PeerName`, `Grant`, `Ticket`, `Caller`), or a TrustError that says why not.

Trusts: the kernel (SO_PEERCRED, file modes), this user's own `$GPROC_HOME`, and the signature of the cluster's
master.  A certificate of the cluster's CA proves a name and nothing more: a slave obeys only the parent it meant
to dial (`tls.check_parent`), and runs only what the master signed for it, now and once (`ticket.TicketVerifier`).  So a
rack master that was broken into can withhold work, but cannot invent, change, redirect or repeat it.

Never: reads a clock, so a node without a battery is as safe as any other; prints; opens a path that a peer named.
"""
