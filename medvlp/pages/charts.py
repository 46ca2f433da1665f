"""Charts as inline SVG whose words stay words: searchable, in the page's own font, scaled by the page's layout."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medvlp.features.drawing import ACCENT, COLOURS
from medvlp.statistics.curves import Curve
from medvlp.statistics.metrics import FloatArray

INK, MUTED, GRID = "#17212b", "#5b6875", "#e3e8ec"
_MOST_POINTS = 600
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))  # who does not see colours tells lines by them
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.edgecolor": "#b7c0c8",
    "axes.linewidth": 0.7,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of ``(T,)`` values over samples seen."""

    name: str
    x: FloatArray
    y: FloatArray


def curve_chart(curve: Curve, *, kind: str, chance: float, key: str) -> str:
    """Return a small square chart of a ROC (``kind="roc"``) or precision-recall curve with its band.

    Args:
        curve: curve and band.
        kind: ``"roc"`` or ``"pr"``.
        chance: prevalence, the level of a random ranking; drawn for ``"pr"`` (for ROC it is the diagonal).
        key: unique in the page; makes the ids inside unique.
    """

    def draw(axes: Axes) -> None:
        diagonal = kind == "roc"
        axes.plot([0, 1], [0, 1] if diagonal else [chance, chance], color="#9aa5ae", linewidth=0.8, dashes=(3, 3))
        axes.fill_between(curve.grid, curve.low, curve.high, color=ACCENT, alpha=0.16, linewidth=0)
        axes.plot(*_thinned(curve.x, curve.y), color=ACCENT, linewidth=1.5, solid_joinstyle="round")
        square(axes, 1.0)
        axes.set_xlabel("1 − specificity" if diagonal else "recall", labelpad=2)
        axes.set_ylabel("sensitivity" if diagonal else "precision", labelpad=2)

    return svg_of(draw, width=2.15, height=2.1, key=key)


def square(axes: Axes, end: float) -> None:
    """Let both axes of a small chart reach from 0 to `end`, with a grid behind what is drawn."""
    axes.set_xlim(-0.01 * end, 1.01 * end)
    axes.set_ylim(-0.01 * end, 1.02 * end)
    ticks = [0, end / 2, end]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_aspect("equal")


def series_chart(series: Sequence[Series], *, ylabel: str, key: str, smooth: bool, pale: Sequence[Series] = ()) -> str:
    """Return a wide chart of series over samples seen.

    Args:
        series: one line each.
        ylabel: of the axis.
        key: unique in the page.
        smooth: draw the values pale and their running mean strong; else the values with markers.
        pale: lines behind the others, without a name of their own.
    """

    def draw(axes: Axes) -> None:
        for line in pale:
            label = "single findings" if line is pale[0] else None
            axes.plot(*_thinned(line.x, line.y), color="#b9c3cb", linewidth=0.8, label=label)
        for colour, dashes, line in zip(cycle(COLOURS), cycle(_DASHES), series, strict=False):
            x, y = _thinned(line.x, line.y)
            if smooth and len(y) >= 20:
                axes.plot(x, y, color=colour, alpha=0.28, linewidth=0.8)
                axes.plot(x, _running_mean(y), color=colour, linewidth=1.6, linestyle=dashes, label=line.name)
            else:
                style = {"linewidth": 1.4, "linestyle": dashes, "marker": "o", "markersize": 2.8}
                axes.plot(x, y, color=colour, label=line.name, **style)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.margins(x=0.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.set_xlabel("samples seen")
        axes.set_ylabel(ylabel)
        if len(series) + bool(pale) > 1:  # under the axes: among so many lines there is no room
            style = {"frameon": False, "fontsize": 7.5, "handlelength": 2.6, "labelcolor": INK, "ncols": 2}
            axes.figure.legend(loc="outside lower center", **style)

    return svg_of(draw, width=4.9, height=2.5 + 0.16 * ((len(series) + bool(pale)) // 2), key=key)


def stacked_bars(
    ticks: Sequence[str], series: Sequence[tuple[str, Sequence[int]]], *, xlabel: str, ylabel: str, key: str
) -> str:
    """Return a wide chart of counts, one bar a tick, the series on top of each other in their order.

    Args:
        ticks: words under the bars; some are left out where they would not fit.
        series: name and ``len(ticks)`` counts.
        xlabel: of the axis.
        ylabel: of the axis.
        key: unique in the page.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(ticks))
        below = np.zeros(len(ticks))
        for colour, (name, counts) in zip(COLOURS * (1 + len(series) // len(COLOURS)), series, strict=False):
            axes.bar(places, counts, bottom=below, width=0.86, color=colour, label=name, linewidth=0)
            below = below + np.asarray(counts, np.float64)
        step = -(-len(ticks) // 20)
        axes.set_xticks(places[::step], [ticks[at] for at in places[::step]])
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.margins(x=0.01, y=0.2 if len(series) > 1 else None)  # the legend stands above the bars
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=7.5, handlelength=1.0, labelcolor=INK, ncols=4, loc="upper right")

    return svg_of(draw, width=4.9, height=2.5, key=key)


def _running_mean(values: FloatArray) -> FloatArray:
    """Return the mean of a centred window of a fifteenth of the points, shorter at the ends."""
    half = max(1, len(values) // 30)
    total = np.concatenate([[0.0], np.cumsum(values)])
    low, high = np.maximum(np.arange(len(values)) - half, 0), np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _thinned(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    if len(x) <= _MOST_POINTS:
        return x, y
    places = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
    return x[places], y[places]


def svg_of(draw: Callable[[Axes], None], *, width: float, height: float, key: str) -> str:
    """Return what `draw` draws as SVG, sized in inches, with ids that begin from `key`."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr]
        axes = figure.add_subplot(facecolor="none")
        draw(axes)
        figure.set_facecolor("none")
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _trimmed(buffer.getvalue())


def _trimmed(text: str) -> str:
    """Keep what a page needs: no prologue, metadata, page-wide style, fixed size, or name that nothing refers to."""
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    short = partial(re.sub, r"\d+\.\d{3,}", lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."))
    text = re.sub("<[^>]+>", lambda tag: short(tag.group()), text)  # places, and no numbers of an axis
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found.group() if found.group(1) in used else "", text)
    box = re.search(r'viewBox="[\d. ]+"', text)
    assert box is not None, "matplotlib writes a viewBox"
    root = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" aria-hidden="true"'
    return root + " " + box.group() + text[text.index(">") :].strip().replace(" \n", "\n")
