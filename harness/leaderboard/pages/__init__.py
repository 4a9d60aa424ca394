"""Pages of a board: Markdown, CSV and figures.

A board enters; files leave."""
