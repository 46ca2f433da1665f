"""``metaclip``: a pool balanced over a list of terms, rare ones whole and common ones capped (Xu et al. 2024)."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Annotated

from pydantic import Field

from medvlp.core.curator import Curator, Record, Verdict
from medvlp.core.errors import ConfigError
from medvlp.core.randomness import seed_of
from medvlp.text.assertion import assertions
from medvlp.text.ontology import Term, terms
from medvlp.text.phrases import Phrases, longest, tokens_of
from medvlp.text.sentences import split_sentences

Counts = Counter[str]


class Metaclip(Curator[Counts]):
    r"""Keep a record by the rarest terms that its text states: a term of count c is drawn with t / max(c, t).

    Terms are looked up in each sentence, and a term counts where the sentence states it: "no pneumothorax" and
    "possible pneumothorax" are no match of pneumothorax. Words are compared in any case, singular or plural; terms of a
    file are found within others too, "effusion" in "pleural effusion". With c_e the number of records of the pool that
    state e, a record with terms E stays with probability 1 - prod_{e in E} (1 - t / max(c_e, t)): one of E's draws must
    succeed. A record of a term with c_e <= t always stays; without any term it goes (``no_term``), as does one whose
    draws all fail (``common``). Draws are a function of seed, record and term.

    Args:
        cap: t, about as many records as a common term shall have; the paper's 20,000 are for 400 million.
        tail: instead, the share of all matches that those of whole terms shall be, as of the paper's second version,
            so that pools of any size are balanced alike; t is the count of the term at which, the rarest first, the
            share of all terms so far is nearest to it.
        terms: file with one term a line; None: the findings of the lexicon, in all their words.
        stated: count stated terms only; False: any occurrence, as the paper does with captions.
        without: keep records that have no term, such as reports in which nothing is found.
        seed: of the draws.

    Raises:
        ConfigError: if the file is not there or lacks terms.

    References:
        Xu et al. 2024, algorithm 1, and `tail` by the rule of their released second version; terms there are 500,000
        words and titles.

    Note:
        Reports without a finding state nothing and go unless `without` keeps them: a model needs some of them, and
        prevalences of what is left are not those of the hospital. Balance training patients only.

    Example:
        >>> rule = Metaclip(cap=1)
        >>> pool = [{"id": "a", "text": "Left effusion."}, {"id": "b", "text": "No effusion. Rib fracture."}]
        >>> counts = rule.measure(pool)
        >>> sorted(counts.items()), rule.apply(pool[1], counts).reason
        ([('effusion', 1), ('rib_fracture', 1)], '')
    """

    def __init__(
        self,
        *,
        cap: Annotated[int, Field(ge=1)] = 1000,
        tail: Annotated[float, Field(gt=0, lt=1)] | None = None,
        terms: Path | None = None,
        stated: bool = True,
        without: bool = False,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.cap, self.file, self.stated, self.without, self.seed = cap, terms, stated, without, seed
        self.tail, self._limit = tail, (Counter[str](), cap)

    @cached_property
    def _phrases(self) -> Phrases[Term]:
        if self.file is None:
            return terms()
        if not self.file.is_file():
            raise ConfigError(f"{self.file} is no file: give terms=FILE with one term a line, or leave it out.")
        try:
            lines = [line.strip() for line in self.file.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise ConfigError(f"{self.file} is no text in UTF-8: save the list of terms as such.") from None
        if not any(lines):
            raise ConfigError(f"{self.file} has no term: write one a line.")
        words = {line: " ".join(t.word for t in tokens_of(line) if t.word not in "()[]") for line in lines if line}
        return Phrases((plain, Term(line, "term")) for line, plain in words.items())

    def matched(self, text: str) -> set[str]:
        """Return the terms that a text states."""
        found: set[str] = set()
        for sentence in split_sentences(text):
            tokens = tokens_of(sentence)
            every = self._phrases.every(tokens)
            apart = longest(every)
            left_out = {
                place
                for term, assertion in zip(apart, assertions(tokens, apart), strict=True)
                if self.stated and assertion.presence != "present"
                for place in term.at
            }
            for term in apart if self.file is None else every:
                if left_out.isdisjoint(term.at):
                    found |= {value.finding for value in term.values if value.kind == "term"}
        return found

    def count(self, record: Record) -> Counts:
        """Return one of each term."""
        return Counter(self.matched(str(record["text"])))

    def add(self, total: Counts | None, more: Counts) -> Counts:
        """Return the sum."""
        self._limit = (Counter(), self.cap)  # that of counts which may grow here
        if total is None:
            return Counter(more)
        total.update(more)
        return total

    def apply(self, record: Record, counts: Counts) -> Verdict:
        """Draw each term of the record."""
        matched = self.matched(str(record["text"]))
        if not matched:
            return Verdict("" if self.without else "no_term")
        limit = self.cap if self.tail is None else self._limit_of(counts, self.tail)
        drawn = {term: seed_of(self.seed, 0, f"{record['id']}\x1f{term}") / 2**63 for term in matched}
        return Verdict("" if any(drawn[term] * max(counts[term], limit) < limit for term in matched) else "common")

    def _limit_of(self, counts: Counts, tail: float) -> int:
        if self._limit[0] is not counts:
            self._limit = (counts, limit_of(counts, tail))
        return self._limit[1]


def limit_of(counts: Counts, tail: float) -> int:
    """Return the count t of the term at which, the rarest first, the share of all matches is nearest to `tail`.

    Example:
        >>> limit_of(Counter(rib=1, node=2, mass=3, effusion=14), 0.25)  # shares 1/20, 3/20, 6/20 and 1
        3
    """
    ordered = sorted(counts.values())
    share = tail * sum(ordered)
    return min(zip(accumulate(ordered), ordered, strict=True), key=lambda at: abs(at[0] - share))[1]
