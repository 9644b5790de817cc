"""`gproc top`: the tree and its jobs on a whole terminal, by Textual.  It needs the extra `top`.

`app` has the screens, `text` what stands in them.  Only `gproc.cli.top` imports it, when it is asked for.
"""
