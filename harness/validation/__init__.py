"""Checks of suites before a run, and of runs before they are published.

A suite or a run enters; findings leave."""
