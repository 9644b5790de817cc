"""The budgets of gproc as measurements, each beside a yardstick of the same run: `python -m bench --help`.

Nothing here asserts a time: another machine, or a busy one, is no bug.  What a figure means is said by its ratio to
the yardstick, which does the same work without gproc on the same machine in the same minute.

`tree` starts trees of real `gproc` processes, `lab` gives hosts links of limited rate, `processes` reads what the
kernel counted, `figures` are what comes out.  Every other module is one measurement: its `measure(settings)`
yields figures.  All state lies in a temporary directory; a user's cluster, cache and keys are never touched.
"""
