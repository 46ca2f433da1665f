"""Draw the ratios of ``docs/results/speed.json`` into ``docs/assets/speed.svg``.

python docs/_make/speed_plot.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

__all__ = ["main", "ratios"]

DOCS = Path(__file__).resolve().parents[1]


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


def main() -> None:
    """Draw them, first at the top."""
    found = list(ratios(json.loads((DOCS / "results/speed.json").read_text(encoding="utf-8"))["tables"]))[::-1]
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
    matplotlib.rcParams |= {"svg.hashsalt": "medvlp", "svg.fonttype": "none"}
    figure.savefig(DOCS / "assets/speed.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
