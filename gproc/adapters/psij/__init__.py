"""An executor for PSI/J: Python programs that submit jobs by psij-python run them on a gproc tree.

`specification` turns a psij.JobSpec into what `gproc.adapters.invoke` runs, a rule but for temporary files; `executor`
is the class that psij finds, and `loop` the threads behind it.  It needs psij-python, which nothing else imports:
`pip install gproc[psij]`.  docs/psij.md is the guide.

Trust: its caller, whose rights it has.
"""
