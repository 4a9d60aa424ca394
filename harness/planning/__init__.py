"""Plans: the cells of a suite, grouped in bundles that share one forward pass, and their cost.

A suite and the registry enter; a frozen plan leaves, before any weight is loaded."""
