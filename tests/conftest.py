"""Hypothesis without a stopwatch, and without a database in the directory it is run from."""

from hypothesis import HealthCheck, settings

settings.register_profile("gproc", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gproc")
