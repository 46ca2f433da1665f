"""Charts of calibrated probabilities: reliability with bands, and decision curves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import ticker
from matplotlib.axes import Axes

from medvlp.features.drawing import ACCENT
from medvlp.pages.charts import GRID, MUTED, square, svg_of
from medvlp.statistics.calibration.reliability import ReliabilityBin
from medvlp.statistics.decision_curve import DecisionCurve


def reliability_chart(bins: Sequence[ReliabilityBin], *, key: str) -> str:
    """Return observed share over mean probability with Wilson bars; both axes reach to the largest value shown.

    Args:
        bins: lowest probability first.
        key: unique in the page.
    """
    top = max([each.probability for each in bins] + [each.interval.high or 0.0 for each in bins])
    end = next(end for end in (0.1, 0.2, 0.3, 0.5, 1.0) if top <= end or end == 1.0)

    def draw(axes: Axes) -> None:
        axes.plot([0, end], [0, end], color="#9aa5ae", linewidth=0.8, dashes=(3, 3))
        x, y = [each.probability for each in bins], [each.observed for each in bins]
        low, high = [each.interval.low or 0.0 for each in bins], [each.interval.high or 0.0 for each in bins]
        axes.vlines(x, low, high, color=ACCENT, linewidth=1.1)
        axes.plot(x, y, color=ACCENT, linewidth=1.2, marker="o", markersize=3)
        square(axes, end)
        axes.set_xlabel("mean probability", labelpad=2)
        axes.set_ylabel("share present", labelpad=2)

    return svg_of(draw, width=2.15, height=2.1, key=key)


def decision_chart(curve: DecisionCurve, *, prevalence: float, key: str) -> str:
    """Return net benefit over threshold probability, with calling everybody (dashed) and nobody (0).

    Args:
        curve: of one finding.
        prevalence: upper end of the vertical axis, which no net benefit exceeds.
        key: unique in the page.
    """

    def draw(axes: Axes) -> None:
        axes.axhline(0, color="#9aa5ae", linewidth=0.8)
        shown = curve.everybody > -0.25 * prevalence
        axes.plot(curve.threshold[shown], curve.everybody[shown], color=MUTED, linewidth=0.9, dashes=(3, 3))
        axes.fill_between(curve.threshold, curve.low, curve.high, color=ACCENT, alpha=0.16, linewidth=0)
        axes.plot(curve.threshold, curve.model, color=ACCENT, linewidth=1.5)
        end = float(curve.threshold[-1])
        axes.set_xlim(0, end)
        axes.set_ylim(-0.25 * prevalence, 1.05 * prevalence)
        ticks = [tick for tick in ticker.MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(0, end) if 0 <= tick <= end]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.locator_params(axis="y", nbins=4)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel("threshold probability", labelpad=2)
        axes.set_ylabel("net benefit", labelpad=2)

    return svg_of(draw, width=2.35, height=2.1, key=key)
