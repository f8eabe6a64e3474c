"""Measurement: workers, the judge, the scheduler, statistics, the plan and the environment."""
