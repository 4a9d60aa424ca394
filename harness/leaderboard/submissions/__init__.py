"""Submissions: somebody else's published runs, checked against the board that they are for.

Files of a stranger enter; findings, a summary for a pull request and, where nothing is wrong, a board with the new rows
leave. Nothing that a submission names is opened, imported, fetched or run here.
"""
