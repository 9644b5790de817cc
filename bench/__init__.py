"""The budgets of gproc as measurements, each beside a yardstick of the same run: `python -m bench --help`.

Nothing here asserts a time: a slower or busy machine is not a bug.  A figure is judged by its ratio to the yardstick,
which does the same work without gproc on the same machine in the same minute.

`compare` measures another revision and this checkout in turns; `checkout` provides both, `ratio` judges.  Its
measurements are those that have a `TRIAL`: the same as steps, `trial`.

`tree` starts trees of real `gproc` processes, `lab` gives hosts links of limited rate, `processes` reads the kernel's
counters, `figures` are the results.  Every other module is one measurement: its `measure(settings)` yields figures.
All state is in a temporary directory; a user's cluster, cache and keys are never touched.
"""
