"""Labelled examples of tasks: sources, images, cleaning, splits, partitions, leaks.

Task specs enter; clean examples with stable ids, their splits and what was removed leave."""
