"""What a cell of an image task looks like: contact sheets of its classifier's features, and its confusion matrix.

`sheet` and `confusion` draw, and `lettering` writes on what they draw; `cell` chooses what to show of a cell and leaves
it in the run folder, where `places` says:

pictures/<cell_id>/feature-<n>.png   training images in which feature n is highest, with its activation patch by patch
pictures/<cell_id>/confusion.png     test rows by label and prediction

Images are of the data, which is not ours to publish: they stay in the run folder.
"""

from harness.figures.cell import Drawn, draw_confusion, draw_sheets
from harness.figures.confusion import confusion_matrix, count_confusions
from harness.figures.sheet import Tile, contact_sheet
from harness.runs.layout import place_confusion, place_sheet

__all__ = [
    "Drawn",
    "Tile",
    "confusion_matrix",
    "contact_sheet",
    "count_confusions",
    "draw_confusion",
    "draw_sheets",
    "place_confusion",
    "place_sheet",
]
