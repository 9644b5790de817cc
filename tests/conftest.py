"""Hypothesis without a stopwatch, and without a database in the directory it is run from."""

from hypothesis import settings

settings.register_profile("gproc", deadline=None, database=None)
settings.load_profile("gproc")
