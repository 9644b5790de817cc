"""Tasks of a list: which node of a job gets which of them, and what people are told of how they ended.  Rules only.

The process that has the list uses them: the client of `gproc map`, or the master if the job outlives its client.
"""
