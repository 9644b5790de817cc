"""`gproc web`: a page that shows the tree and its jobs, the same as JSON, and figures for Prometheus.

`rows` and `access` are rules; `app` is the ASGI application, `serving` its server.  `gproc.client.watching` asks the
master, at most once a second, no matter how many browsers look.  `page` holds what a browser gets: plain files, built
by
nothing.

It needs the extra `web`.  Only `gproc.cli.web` imports it, when it is asked for.
"""
