"""Pictures of cells of image tasks: contact sheets of a classifier's features, and confusion matrices.

`sheet` and `confusion` draw on the pages of `lettering`; `cell` selects the content of a cell's pictures and writes
them into the run folder, at the paths of `harness.runs.layout`:

pictures/<cell_id>/feature-<n>.png   training images in which feature n is highest, with its activation patch by patch
pictures/<cell_id>/confusion.png     test rows by label and prediction

Images may not be free to publish, so they stay in the run folder.
"""
