"""A demo: one file that imports `medvlp.serving` alone."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

import medvlp
from medvlp.serving import Reader


def demo(bundle: Path) -> gr.Interface:
    """A page with one file to give and one table to read."""
    reader = Reader(medvlp.load(bundle))

    def scores(path: str) -> dict[str, float]:
        told = reader.findings(reader.prepare(Path(path)))
        return {row["finding"]: row["score"] for row in told["findings"]}

    return gr.Interface(scores, gr.File(type="filepath"), gr.JSON(), api_name="scores")
