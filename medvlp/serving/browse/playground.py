"""Sentences typed against pictures: each against its denial, by the functions that the reading room asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.answers.asking.model import load
from medvlp.core.errors import UserError
from medvlp.data.manifest import Manifest
from medvlp.evaluation.shown import shown_pixels
from medvlp.features.drawing import png_uri
from medvlp.io.errors import UnreadableImage
from medvlp.serving.browse.shelf import Shelf
from medvlp.serving.browse.thumbnails import small
from medvlp.serving.reader import Reader

MOST_SENTENCES, MOST_IMAGES = 6, 24


@dataclass(frozen=True)
class Asked:
    """What was said of one picture.

    Attributes:
        name: of the picture.
        picture: (h, w) uint8, as the model sees it; None of a file that cannot be read.
        said: one entry a sentence, as `Reader.ask` gives it, or ``{"statement": as typed, "error": why not}``.
    """

    name: str
    picture: np.ndarray | None
    said: tuple[dict[str, Any], ...]


class Playground:
    """Bundles of a shelf at work; each is loaded once, when it is first asked, and anew where it was replaced.

    Args:
        shelf: with the bundles and manifests.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._lock = shelf, threading.Lock()
        self._readers: dict[Path, tuple[bytes, Reader]] = {}

    def reader(self, bundle: str) -> Reader:
        """Return a bundle of the shelf at work."""
        path = self._shelf.path("bundle", bundle)
        listed = path / "MANIFEST.sha256"
        files = listed.read_bytes() if listed.is_file() else b""
        with self._lock:
            if path not in self._readers or self._readers[path][0] != files:
                self._readers[path] = files, Reader(load(path), name=bundle)
            return self._readers[path][1]

    def ask_files(self, bundle: str, files: Sequence[tuple[str, Path]], text: str) -> list[Asked]:
        """Ask the sentences of a text, one a line, of some files; what cannot be read says why."""
        sentences = [line.strip() for line in text.splitlines() if line.strip()]
        if not 0 < len(sentences) <= MOST_SENTENCES:
            raise UserError(f"Type 1 to {MOST_SENTENCES} sentences, one a line, not {len(sentences)}.")
        reader = self.reader(bundle)
        return [_asked(reader, name, path, sentences) for name, path in files]

    def files_of(self, manifest: str, bundle: str, *, split: str, count: int, seed: int) -> list[tuple[str, Path]]:
        """Return some pictures of a manifest that the bundle looks at, drawn by a seed, with their ids."""
        if not 0 < count <= MOST_IMAGES or seed < 0:
            raise UserError(f"Ask of 1 to {MOST_IMAGES} pictures drawn by a seed from 0 on, not of {count} by {seed}.")
        table, fields = self._shelf.manifest(manifest), self.reader(bundle).model.fields
        column = next((name for name in fields if name in table), None)
        if column is None:
            raise UserError(f"The manifest {manifest} names no {' or '.join(fields)}, which this model looks at.")
        rows = np.arange(len(table))
        if split and "split" in table:
            rows = rows[table.column("split") == split]
        drawn = np.random.default_rng(seed).permutation(rows)[:count]
        ids = table.column("id")
        found = ((str(ids[row]), table.paths(int(row), column)) for row in np.sort(drawn))
        return [(name, paths[0]) for name, paths in found if paths]


def split_names(manifest: Manifest) -> list[str]:
    """Return the splits of a manifest, ``test`` first."""
    named = {str(each) for each in manifest.column("split") if each is not None} if "split" in manifest else set()
    return sorted(named, key=lambda name: (name != "test", name))


def answers_html(asked: Sequence[Asked]) -> str:
    """Return answers as a table, a row a picture, the picture most for the first sentence on top."""
    # A picture may be held back: what a sentence stands against is told by one that was asked.
    heads = [max(each, key=lambda said: "denial" in said) for each in zip(*(one.said for one in asked), strict=True)]
    rows = sorted(asked, key=lambda each: -_lean(each.said[0]))
    head = "".join(
        f"<th>{escape(said['statement'])}<br><span>against: {escape(said.get('denial', '-'))}</span></th>"
        for said in heads
    )
    body = "".join(
        f'<tr><td>{"" if each.picture is None else f"""<img src="{png_uri(each.picture)}" alt="">"""}'
        f'<span class="fine">{escape(each.name)}</span></td>{"".join(map(_cell, each.said))}</tr>'
        for each in rows
    )
    return f'<table class="answers"><thead><tr><th>picture</th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _lean(said: dict[str, Any]) -> float:
    """Return how far a picture leans to a sentence, as shown; calibration need not keep a margin's order."""
    if "error" in said:
        return -np.inf
    return said["margin"] if said["probability"] is None else said["probability"] - said["prior"]


def _cell(said: dict[str, Any]) -> str:
    if "error" in said:
        return f'<td class="fine">{escape(said["error"])}</td>'
    share, note = said["probability"], f"margin {said['margin']:+.3f}"
    if share is None:
        share, note = f"{said['margin']:+.3f}", "margin, not calibrated"
    else:
        share, note = f"{share:.2f}", f"base rate alone {said['prior']:.2f}, {note}"
    return f'<td class="{"yes" if _lean(said) > 0 else "no"}"><b>{share}</b><br><span class="fine">{note}</span></td>'


def _asked(reader: Reader, name: str, path: Path, sentences: Sequence[str]) -> Asked:
    try:
        prepared = reader.prepare(path)
    except UserError as error:
        why = f"{error.detail}; {error.hint}." if isinstance(error, UnreadableImage) else str(error)
        return Asked(name, None, tuple({"statement": each, "error": why} for each in sentences))
    said = []
    for sentence in sentences:
        try:
            said.append(reader.ask(prepared, sentence))
        except UserError as error:
            said.append({"statement": sentence, "error": str(error)})
    return Asked(name, small(shown_pixels(prepared.sample).numpy(), 128), tuple(said))
