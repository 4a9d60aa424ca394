"""Canvas: lines, marks and texts on a figure of matplotlib, measured in points from the upper left corner.

A text is placed by its baseline, and nothing by the widths of its letters, so that a picture is the same whatever fonts
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.lettering import BLACK, PLAIN, WHITE, font, readable
from harness.leaderboard.plots.chart import INK, Line, Style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

SIDE, SMALL = 8.0, 6.0
"""Size of a mark, in points, and of one among many."""

THIN, LINE = 0.8, 1.6
"""Widths of rules and of lines, in points."""

PALE, FAINT, BAR = 0.72, 0.16, 0.75
"""Opacities of the ink of notes, of rules behind the marks, and of the bars of intervals."""

_LARGER = {"*": 1.6, "P": 1.15, "X": 1.15, "^": 1.1, "v": 1.1, "s": 0.85, "D": 0.8, "d": 1.0}
"""Factors by which marks look as large as a circle."""

Spot = tuple[float, float]
"""Place, in points from the left and from the top."""


class Canvas:
    """Figure of `width` × `height` points. With `letters` texts are drawn with the fonts of figures, else they are left
    to who reads the picture: `texts` has them by the number of their artist, and `about` what is said of marks.
    """

    def __init__(self, width: float, height: float, *, letters: bool) -> None:
        from matplotlib.figure import Figure

        self.width, self.height, self.letters = width, height, letters
        self.figure: Figure = Figure(
            figsize=(width / 72, height / 72), dpi=72, facecolor=WHITE, edgecolor="none"
        )
        self.figure.patch.set_visible(letters)
        self.texts: dict[str, str] = {}
        self.about: dict[str, str] = {}
        self._number = 0

    def text(
        self,
        text: str,
        spot: Spot,
        *,
        size: float = 11,
        align: str = "left",
        opacity: float = 1.0,
        upwards: bool = False,
        about: str = "",
    ) -> None:
        """Draw one line of a text, that many points high."""
        x, y = spot
        style: dict[str, Any] = {"rotation": 90} if upwards else {}
        if self.letters:
            style |= {"font": font(size)}
        else:
            style |= {"fontsize": size}
        # Without letters a dot stands for the text: to lay out the text itself, its fonts would have to be there.
        artist = self.figure.text(
            x / self.width,
            1 - y / self.height,
            readable(text) if self.letters else ".",
            color=BLACK,
            ha=align,
            alpha=opacity,
            **style,
            **PLAIN,
        )
        self._remember(artist, about)
        self.texts[str(artist.get_gid())] = text

    def line(
        self,
        spots: Sequence[Spot],
        *,
        colour: str = INK,
        width: float = THIN,
        kind: Line = "solid",
        opacity: float = 1.0,
        about: str = "",
    ) -> None:
        """Draw a line through places."""
        from matplotlib.path import Path

        self._add(
            Path(spots),
            about,
            colour=colour,
            width=width,
            linestyle=kind,
            alpha=opacity,
            fill=False,
            capstyle="butt",
        )

    def mark(self, spot: Spot, style: Style, *, about: str = "", side: float = SIDE) -> None:
        """Draw a mark; a hollow one has no fill."""
        from matplotlib.markers import MarkerStyle
        from matplotlib.transforms import Affine2D

        marker = MarkerStyle(style.mark)
        scale = side * _LARGER.get(style.mark, 1.0)
        moved = Affine2D().scale(scale, -scale).translate(*spot)
        outline = marker.get_path().transformed(marker.get_transform() + moved)
        width = 0.9 if style.filled else 1.4
        self._add(outline, about, colour=style.colour, width=width, fill=style.filled, joinstyle="miter")

    def _add(self, outline: Any, about: str, *, colour: str, width: float, **style: Any) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.transforms import Affine2D

        place = Affine2D().scale(1 / self.width, -1 / self.height).translate(0, 1) + self.figure.transFigure
        shade = BLACK if colour == INK else colour
        artist = PathPatch(
            outline, transform=place, edgecolor=shade, facecolor=shade, linewidth=width, **style
        )
        self.figure.add_artist(artist)
        self._remember(artist, about)

    def _remember(self, artist: Artist, about: str) -> None:
        """Number an artist. They are drawn in the order in which they were added."""
        self._number += 1
        artist.set_gid(str(self._number))
        artist.set_zorder(self._number)
        if about:
            self.about[str(self._number)] = about
