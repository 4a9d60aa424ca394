"""Published boards: what a board needs, small enough to commit, and its check.

Run folders enter; published runs leave, and can be read back as results."""
