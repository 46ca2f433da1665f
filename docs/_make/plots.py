"""Draw what pages of results show as pictures, from the JSON that is stored beside them.

``python docs/_make/plots.py`` writes ``docs/assets/speed.svg`` and ``docs/assets/comparison.svg``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

__all__ = ["differences", "main", "ratios"]

DOCS = Path(__file__).resolve().parents[1]
RESULTS = {
    "zero-shot AUROC": "zero_shot auroc macro (test)",
    "linear probe, AUROC": "linear_probe auroc macro (test)",
    "left of right, AUROC": "laterality auroc left_of_right (test)",
}


def ratios(tables: dict[str, Any]) -> Iterator[tuple[str, float, float | None]]:
    """Yield (work and peer, our time over the peer's, our memory over its)."""
    for rows, whole, tiled, memory, less in tables["loss"]["rows"]:
        yield f"CLIP's loss, {rows:,} rows (open_clip)", whole, memory
        yield "the same, by tiles (open_clip)", tiled, less
    for loss, rows, peer, time, memory in tables["losses"]["rows"]:
        yield f"{loss}, {rows:,} rows ({peer})" if isinstance(rows, int) else f"{loss} ({peer})", time, memory
    for step, peer, time, memory in tables["tower"]["rows"]:
        yield f"step of {step} ({peer})", time, memory
    for work, peer, time, *_ in tables["search"]["rows"]:
        yield f"{work} ({peer})", time, None


def differences(stored: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return method -> column -> what it has above the reference with the same seed, a number a seed; best last."""
    cells = {(cell["method"], cell["seed"]): cell["numbers"] for cell in stored["cells"]}
    reference = stored["facts"]["reference"]
    found: dict[str, dict[str, list[float]]] = {}
    for (method, seed), numbers in cells.items():
        for column, result in RESULTS.items():
            if method != reference:
                less = cells[reference, seed][result]["value"]
                found.setdefault(method, {}).setdefault(column, []).append(numbers[result]["value"] - less)
    return dict(sorted(found.items(), key=lambda item: mean(item[1][next(iter(RESULTS))])))


def draw_speed(stored: dict[str, Any]) -> None:
    """Draw ratios, the first at the top."""
    found = list(ratios(stored["tables"]))[::-1]
    figure, panel = pyplot.subplots(figsize=(9, 6.5), layout="constrained")
    places = range(len(found))
    panel.axvline(1, color="0.4", linewidth=1)
    panel.scatter([time for _, time, _ in found], places, label="time", zorder=3)
    panel.scatter([m for *_, m in found if m], [p for p, (*_, m) in zip(places, found, strict=True) if m],
                  marker="s", facecolors="none", edgecolors="tab:orange", label="memory", zorder=3)  # fmt: skip
    panel.set(xscale="log", xlabel="ours over the peer's (left of 1: less)", xlim=(0.02, 2))
    panel.set_xticks([0.03, 0.1, 0.3, 1], labels=["0.03", "0.1", "0.3", "1"])
    panel.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    panel.set_yticks(places, labels=[name for name, *_ in found])
    panel.grid(visible=True, axis="x", alpha=0.3)
    panel.legend(loc="upper left")
    save(figure, "speed")


def draw_comparison(stored: dict[str, Any]) -> None:
    """Draw differences from the reference: a ring a seed, a line at their mean."""
    found = differences(stored)
    figure, panels = pyplot.subplots(
        1, len(RESULTS), figsize=(10, 1 + 0.2 * len(found)), sharey=True, layout="constrained"
    )
    for panel, column in zip(panels, RESULTS, strict=True):
        panel.axvline(0, color="0.4", linewidth=1)
        for place, method in enumerate(found):
            seeds = found[method][column]
            panel.plot(seeds, [place] * len(seeds), "o", mfc="none", mec="tab:blue", ms=4, alpha=0.6)
            panel.plot(mean(seeds), place, "|", color="tab:orange", ms=9, mew=2.5)
        panel.set(xlabel=f"{column}, less {stored['facts']['reference']}'s", ylim=(-0.7, len(found) - 0.3))
        panel.set_yticks(range(len(found)), labels=found)
        panel.grid(visible=True, alpha=0.25)
    save(figure, "comparison")


def save(figure: Figure, name: str) -> None:
    """Write a picture, the same bytes from the same numbers."""
    matplotlib.rcParams |= {"svg.hashsalt": "medvlp", "svg.fonttype": "none"}
    figure.savefig(DOCS / f"assets/{name}.svg", metadata={"Date": None})


def main() -> None:
    """Draw them all."""
    for name, draw in {"speed": draw_speed, "comparison": draw_comparison}.items():
        draw(json.loads((DOCS / f"results/{name}.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
