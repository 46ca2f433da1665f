"""The notation of the lexicon by its definition: every phrase written out to its end."""

from __future__ import annotations

import re

from medvlp.text.phrases import plain


def written_out(line: str) -> set[str]:
    """The phrases of a line, innermost brackets first, each written out to its end."""
    inner = re.search(r"\[([^][()]*)\]|\(([^][()]*)\)", line)
    if inner is None:
        return {" ".join(map(plain, line.replace("-", " ").split()))} - {""}
    options = ["", *inner[1].split("|")] if inner[2] is None else inner[2].split("|")
    return {each for option in options for each in written_out(line[: inner.start()] + option + line[inner.end() :])}
