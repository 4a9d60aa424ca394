"""Runs: execution of a plan, its records, predictions and events on disk.

A plan enters; a run folder leaves, in which every finished cell has a record."""
