"""Exports: results of runs in the file formats of other projects.

Records of runs and the registry's offers enter; texts of files leave, with a sentence on each thing that the other
format cannot hold. No number is computed that is not a mean of those in the records.
"""
