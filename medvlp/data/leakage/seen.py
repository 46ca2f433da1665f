"""What a model was trained and chosen on, as keyed hashes that its bundle carries, and what of it is judged again.

A hash is the first 64 bits of BLAKE2b under a key of the bundle: no identifier can be read from it, and a million
records take about 10 MB. **The key lies in the bundle, as it must for anybody to compare.** Whoever holds the bundle
can therefore hash a guess and learn whether it was in training: files that they have, and identifiers that can be
counted through, such as numbers of six digits. Identifiers that are themselves keyed hashes (`medvlp.core.pseudonym`,
as the layout ``hospital`` makes them) cannot be guessed without the hospital's own secret. What the key does prevent is
that two bundles are compared with each other, or with a table of hashes made once. Where membership itself is a secret,
leave the hashes out (``data.hashes: false``); an evaluation then says that it does not know.

Patients are the same only within one numbering (`medvlp.data.leakage.rows.namespace_of`), files wherever they lie. Near
copies are looked for where a survey has seen all pictures: by perceptual hashes (`medvlp.data.leakage.hashes`, 64 bytes
a picture) alone, since no picture is in a bundle to be registered with. Of copies that were resized, compressed or
inverted the hashes have inner products of 0.998 and more; of two real patients they reached 0.80 among 1,359 films, of
two synthetic ones 0.96 among 1,077. `LIMIT` lies between. Of 120 real films with 0.5 % cut off two sides all are found,
with 1 % 111, with 2 % 25: for larger crops there is `medvlp data check` on both manifests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data.cache import Cache
from medvlp.data.contents import content_hashes
from medvlp.data.leakage.leak import KINDS
from medvlp.data.leakage.rows import Entry, named_values, rows_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import chunked

LIMIT = 0.98
"""Inner product of two perceptual hashes from which two pictures are one film."""
PARTS: tuple[str, ...] = ("train", "validate")
_KINDS = ("patient", "study", "image", "pixels")  # pixels: those of a surveyed file, whatever its container
_SCHEMA = "medvlp.seen/1"
_STEPS = 127  # of a perceptual hash's numbers
_BLOCK = 1024


@dataclass(frozen=True)
class Overlap:
    """What of a manifest a model has seen.

    Attributes:
        found: kind (a word of `medvlp.data.leakage.KINDS`) -> how many different ones of the manifest.
        first: id of the first such row; empty where there is none.
    """

    found: Mapping[str, int]
    records: int
    of: int
    first: str = ""

    def counted(self) -> str:
        """Return how many of what: ``3 patients, 7 images (7 of 20 records)``.

        Example:
            >>> Overlap({"patient": 1, "near_image": 2}, 3, 20).counted()
            '1 patient, 2 near copies of images (3 of 20 records)'
        """
        words = {"patient": ("patient", "patients"), "study": ("study", "studies"), "image": ("image", "images")}
        words["near_image"] = ("near copy of an image", "near copies of images")
        parts = [f"{count} {words[kind][count != 1]}" for kind, count in self.found.items()]
        return f"{', '.join(parts)} ({self.records} of {self.of} records)"


@dataclass(frozen=True, eq=False)
class Seen:
    """The hashes of a bundle.

    Attributes:
        key: of all hashes; a model that starts from a bundle goes on with its key, so that hashes can be put together.
        hashes: ``train.patient``, ``validate.image`` ... -> sorted different uint64.
        hasher: ``(143, 64)`` float32: the map to perceptual hashes; None where no survey had seen the pictures.
        complete: whether all is known: false where the model started from a bundle that did not know.
    """

    key: bytes
    hashes: Mapping[str, np.ndarray] = field(default_factory=dict)
    hasher: np.ndarray | None = None
    complete: bool = True

    def count(self, kind: str) -> int:
        """Return how many patients, studies or images it knows."""
        return len(np.unique(np.concatenate([self.hashes.get(f"{part}.{kind}", _NONE) for part in PARTS])))

    def overlap(self, manifest: Manifest, *, parts: Iterable[str] = PARTS, near: bool = False) -> Overlap:
        """Return what of a manifest was seen.

        Args:
            manifest: to be judged; rows without a split take no part.
            parts: of `PARTS`, which to compare with.
            near: whether near copies are looked for; every picture must be known to a survey or is decoded.
        """
        tokens, parts = _tokens(manifest, near=near), tuple(parts)
        hits: dict[str, set[int]] = {}
        found: dict[str, int] = {}
        for kind in _KINDS:
            known = np.concatenate([self.hashes.get(f"{part}.{kind}", _NONE) for part in parts])
            things, owners = tokens.named[kind]
            at = np.flatnonzero(np.isin(_hashed(things, self.key), known)).tolist()
            hits[kind], found[kind] = {owners[i] for i in at}, len({things[i] for i in at})
        images = hits["image"] | hits.pop("pixels")
        hits |= {"image": images, "near_image": self._near(tokens, parts) - images if near else set()}
        found = {**found, "image": len(images), "near_image": len(hits["near_image"])}
        rows = {tokens.row(kind, owner) for kind, own in hits.items() for owner in own}
        found = {kind: count for kind, count in found.items() if count and kind in KINDS}
        ids = manifest.column("id")
        return Overlap(found, len(rows), len(manifest), str(ids[min(rows)]) if rows else "")

    def has_files(self, paths: Sequence[Path]) -> list[bool]:
        """Which files, byte for byte, are among them; all are looked up together, which takes little more than one."""
        hashes = content_hashes([path.resolve() for path in paths], cache=Cache.default())
        known = np.concatenate([self.hashes.get(f"{part}.image", _NONE) for part in PARTS])
        there = np.isin(_hashed([f"image {sha}" for sha in hashes], self.key), known)
        return [bool(sha) and found for sha, found in zip(hashes, there.tolist(), strict=True)]

    def joined(self, other: Seen) -> Seen:
        """Return the union with another record of training data."""
        if other.key != self.key:
            raise DataError("Hashes under two keys cannot be put together: train from the bundle itself.")
        merged = {
            name: np.unique(np.concatenate([s.hashes[name] for s in (self, other) if name in s.hashes]), axis=0)
            for name in dict.fromkeys([*self.hashes, *other.hashes])
        }
        hasher = self.hasher if self.hasher is not None else other.hasher
        return Seen(self.key, merged, hasher, self.complete and other.complete)

    def to_plain(self) -> dict[str, Any]:
        """Return plain data for ``bundle.yaml``."""
        counts = {name: len(values) for name, values in self.hashes.items()}
        return {"schema": _SCHEMA, "key": self.key.hex(), "complete": self.complete, "counts": counts}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of ``seen.safetensors``."""
        return {**self.hashes, **({} if self.hasher is None else {"hasher": self.hasher})}

    @classmethod
    def of(cls, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Seen:
        """Read what `to_plain` and `to_arrays` gave.

        Example:
            >>> seen = Seen(b"k" * 16, {"train.patient": np.array([3], np.uint64)})
            >>> Seen.of(seen.to_plain(), seen.to_arrays()).count("patient")
            1
        """
        if plain.get("schema") != _SCHEMA:
            raise DataError(f"Its hashes of training data have the schema {plain.get('schema')!r}, not {_SCHEMA!r}.")
        hashes = {name: values for name, values in arrays.items() if name != "hasher"}
        return cls(bytes.fromhex(str(plain["key"])), hashes, arrays.get("hasher"), bool(plain["complete"]))

    def _near(self, tokens: _Tokens, parts: Sequence[str]) -> set[int]:
        """Return the entries whose picture is a near copy of one that was seen."""
        from medvlp.data.leakage.hashes import blocks, unit

        if self.hasher is None:
            return set()
        own, owners = tokens.perceptual(self.hasher)
        known = np.concatenate([np.zeros((0, own.shape[1])), *(self.hashes.get(f"{p}.near", own[:0]) for p in parts)])
        if not len(known) or not len(own):
            return set()
        like = np.zeros(len(own), bool)
        for block in blocks(known):
            like |= np.abs(own @ unit(block.astype(np.float32)).T).max(axis=1) >= LIMIT
        return {owners[at] for at in np.flatnonzero(like)}


def seen_of(
    parts: Mapping[str, Manifest], *, salt: str, near: bool = False, base: Seen | None = None, knows_base: bool = True
) -> Seen:
    """Return the hashes of the records of a run.

    Args:
        parts: ``train`` and ``validate`` -> their readable records.
        salt: the key is made of it: recipe and data, so that the same run gives the same bundle.
        near: whether perceptual hashes are kept too; every picture must be known to a survey or is decoded.
        base: of the bundle that the model started from: its key and its map to perceptual hashes are taken over.
        knows_base: false where there is such a bundle and it does not know.
    """
    key = base.key if base is not None else hashlib.blake2b(salt.encode(), digest_size=16).digest()
    tokens = {part: _tokens(manifest, near=near) for part, manifest in parts.items() if part in PARTS}
    hashes = {}
    for part, own in tokens.items():
        for kind in _KINDS:
            found = np.unique(_hashed(own.named[kind][0], key))
            if len(found):
                hashes[f"{part}.{kind}"] = found
    hasher = None if base is None else base.hasher
    if near and hasher is None:
        hasher = _hasher(tokens["train"])
    if near and hasher is not None:
        for part, own in tokens.items():
            values = np.rint(own.perceptual(hasher)[0] * _STEPS).astype(np.int8)
            if len(values):
                hashes[f"{part}.near"] = values
    made = Seen(key, hashes, hasher, knows_base)
    return made if base is None else replace(made.joined(base), complete=knows_base and base.complete)


# tokens -------------------------------------------------------------------------------------------------------------

_NONE = np.zeros(0, np.uint64)


def _hashed(things: Sequence[str], key: bytes) -> np.ndarray:
    digests = b"".join(
        hashlib.blake2b(thing.encode("utf-8", "surrogateescape"), key=key, digest_size=8).digest() for thing in things
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@dataclass(frozen=True, eq=False)
class _Tokens:
    """What a manifest has of each kind, as words to be hashed, and whose they are: of pictures an entry, else a row."""

    named: Mapping[str, tuple[list[str], list[int]]]
    entries: Sequence[Entry]
    survey: Any  # of all entries, or None

    def row(self, kind: str, owner: int) -> int:
        return self.entries[owner].row if kind in ("image", "near_image") else owner

    def images(self) -> list[int]:
        """The entries of different pictures that show something, the first of each; none without a survey."""
        first: dict[str, int] = {}
        for thing, at in zip(*self.named["pixels"], strict=True):
            first.setdefault(thing, at)
        return list(first.values())

    def perceptual(self, hasher: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Return the perceptual hashes ``(N, 64)`` of its different pictures, and their entries."""
        from medvlp.data.leakage.hashes import Hasher, cosines

        owners = self.images()
        pieces = chunked(owners, _BLOCK)
        found = [Hasher(hasher)(cosines([self.survey[at].picture for at in block])) for block in pieces]
        return np.concatenate([np.zeros((0, hasher.shape[1]), np.float32), *found]), owners


def _tokens(manifest: Manifest, *, near: bool) -> _Tokens:
    rows = rows_of([manifest])
    named: dict[str, tuple[list[str], list[int]]] = {}
    # Patients of whom nobody knows more than the record's own name are not known: names of rows repeat everywhere.
    by_id = manifest.meta.get("patients_by") == "id"
    patients = [None if by_id or (v and v[0].startswith("id@")) else v for v in named_values(manifest, "id.patient")]
    # Of a known patient the study says nothing more.
    pairs = zip(patients, named_values(manifest, "id.study"), strict=True)
    studies = [study if patient is None else None for patient, study in pairs]
    for kind, values in (("patient", patients), ("study", studies)):
        there = [(at, v) for at, v in enumerate(values) if v is not None and rows.splits[at] is not None]
        named[kind] = ([f"{kind} {v[0]}:{v[1]}" for _, v in there], [at for at, _ in there])
    entries, cache = rows.entries(), Cache.default()
    paths = [entry.path for entry in entries]
    files = [(sha, at) for at, sha in enumerate(content_hashes(paths, cache=cache)) if sha]
    survey, pixels = None, []
    if near and entries:
        from medvlp.data.leakage.near import is_blank
        from medvlp.data.survey import survey_images

        survey = survey_images(paths, cache=cache)
        shown = [(each.pixels, at) for at, each in enumerate(survey.brief()) if each is not None and not each.reason]
        pixels = [(value, at) for value, at in shown if not is_blank(survey, at)]
    for kind, both in (("image", files), ("pixels", pixels)):
        named[kind] = ([f"{kind} {value}" for value, _ in both], [at for _, at in both])
    return _Tokens(named, entries, survey)


def _hasher(tokens: _Tokens) -> np.ndarray | None:
    """Learn the map to perceptual hashes from the training pictures, as a check of leaks does."""
    from medvlp.data.leakage.hashes import cosines
    from medvlp.data.leakage.near import Film, learnt_hasher

    owners = tokens.images()
    if not owners:
        return None
    films = [Film(at, tokens.row("image", at), "") for at in owners]
    pieces = chunked(owners, _BLOCK)
    features = np.concatenate([cosines([tokens.survey[at].picture for at in block]) for block in pieces])
    return learnt_hasher(films, features, tokens.survey).matrix.astype(np.float32)
