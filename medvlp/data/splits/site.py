"""``site``: whole sites are the test; their patients are seen nowhere else."""

from __future__ import annotations

import numpy as np

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.data.splits._groups import Cohort, Fractions, Grouped, checked_fractions, grouped, parted
from medvlp.data.splits._split import Split, of_rows


def by_site(
    manifest: Cohort,
    *,
    held: tuple[str, ...] = (),
    column: str = "site",
    fractions: Fractions = None,
    seed: int = 0,
    by: str = "id.patient",
) -> Split:
    """Split so that the test comes from sites that training never saw; training and validation are split by patient.

    A patient who was also at another site is tested with the records of the test sites only; the others are left out
    of all parts and listed.

    With `held`, adding patients moves nobody. Without it, sites are taken in the order of their places until they hold
    the share of patients that the test asks for, so a growing cohort may need fewer of them.

    Args:
        manifest: with the columns `column` and `by`, no value missing.
        held: sites of the test; drawn where none is named.
        column: of the sites; any attribute does: ``scanner``, ``source``.
        fractions: part -> share, summing to 1; default train .7, validate .1, test .2. The test's is only aimed at.
        seed: another seed, other sites and another validation.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1, or have no test.
        DataError: if there is no such site, fewer than two, a column is missing, or nobody is left for another part.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "q"], "site": ["north", "south"]}
        >>> by_site(Manifest.of(columns, root=Path(".")), held=("south",), fractions={"train": 0.5, "test": 0.5}).parts
        {'train': ('a',), 'test': ('b',)}
    """
    shares = checked_fractions(fractions)
    if "test" not in shares or shares["test"] == 1:
        raise ConfigError(f"The fractions of a split by site are {shares}: name a test, and a part to train on.")
    sites, patients = grouped(manifest, by=column, seed=seed), grouped(manifest, by=by, seed=seed)
    if len(sites) < 2:
        only = str(sites.names[0])
        raise DataError(f"A split by site needs two of them, and the column {column!r} holds only {only!r}.")
    for name in held:
        if name not in sites.names:
            raise DataError(f"The column {column!r} holds no {name!r}: {did_you_mean(name, sites.names.tolist())}.")
    chosen = np.isin(sites.names, held) if held else _drawn(sites, patients, shares["test"])
    tested = chosen[sites.code]
    known = patients.count(tested) > 0
    others = {name: share / (1 - shares["test"]) for name, share in shares.items() if name != "test"}
    elsewhere = known[patients.code] & ~tested
    outside = sorted(sites.names[chosen].tolist())
    if not (~tested & ~elsewhere).any():
        raise DataError(f"Nobody is left to train on when {', '.join(outside)} is the test: hold fewer sites out.")
    part = np.full(len(patients), None, dtype=object)
    part[~known] = parted(patients.places[~known], others, by=by)
    sides = part[patients.code]
    sides[tested] = "test"
    return of_rows(
        manifest,
        sides,
        name="site",
        unit="site",
        options={"held": outside, "column": column, "fractions": shares, "seed": seed, "by": by},
        parts=list(shares),
        left_out={f"of a patient of the test, at another {column}": elsewhere},
    )


def _drawn(sites: Grouped, patients: Grouped, share: float) -> np.ndarray:
    """Sites in the order of their places, as long as one more brings the patients nearer to the share."""
    chosen = np.zeros(len(sites), dtype=bool)
    reached = 0.0
    for index in range(len(sites) - 1):
        chosen[index] = True
        now = float((patients.count(chosen[sites.code]) > 0).mean())
        if index and abs(now - share) >= abs(reached - share):
            chosen[index] = False
            break
        reached = now
        if reached >= share:
            break
    return chosen
