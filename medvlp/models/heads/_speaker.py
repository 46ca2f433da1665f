"""Heads that write: what goes on after words, and the words that are chosen of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Head

Tower = Callable[[Tensor], Tensor]


class Steps(Protocol):
    """Rows of words that grow: what was made of the words so far is kept."""

    def next(self, ids: Tensor) -> Tensor:
        """Return the logits (R, V) of the word after ids (R, L), the words of the last call and new ones."""
        ...

    def pick(self, rows: Tensor) -> None:
        """Go on with these rows (R',) in this order; one may stand there twice."""
        ...


class Speaker(Head):
    """A head that writes at stage ``call``: texts from a picture's vectors."""

    stage = "call"
    words: str = "own"

    @abstractmethod
    def forward_logits(
        self, memory: Tensor, mask: Tensor | None, words: Tensor, findings: Tensor | None = None
    ) -> Tensor:
        """Return logits (R, L, V): those at position l are of the word that follows ``words[:, l]``."""

    @abstractmethod
    def steps(self, memory: Tensor, mask: Tensor | None, tower: Tower | None, findings: Tensor | None) -> Steps:
        """Return rows without words, as `write` goes on with them."""

    def refuse_too_long(self, length: int) -> None:
        """Refuse texts of so many words (ConfigError) that this head cannot write."""

    @torch.no_grad()
    def write(
        self,
        memory: Tensor,
        mask: Tensor | None,
        *,
        start: int | Tensor,
        stop: int,
        longest: int,
        tower: Tower | None = None,
        findings: Tensor | None = None,
        decoding: Decoding | None = None,
        draws: Tensor | None = None,
    ) -> Tensor:
        """Write until `stop` or `longest` words, in evaluation mode.

        Args:
            memory: as for `forward_logits`, like `mask` and `findings`.
            mask: (R, N).
            start: id of the first word, which is given; or the first words of each row, (R, P).
            stop: id of the word after which nothing follows.
            longest: most words that are written.
            tower: with ``words: tower``, ids (R, L) -> the text tower's tokens (R, L, W).
            findings: (R, K).
            decoding: how words are chosen; None: the most probable one each.
            draws: (R, longest) in [0, 1) for a decoding that draws.

        Returns:
            (R, T) int64 without what was given, T at most `longest`; after its first `stop` a row holds only `stop`.

        Raises:
            ConfigError: if given and written words are more than it can write, or the text tower is not given.
        """
        first = torch.full((len(memory), 1), start, device=memory.device) if isinstance(start, int) else start
        self.refuse_too_long(first.shape[1] + longest - 1)
        if (self.words == "tower") != (tower is not None):
            raise ConfigError(f"This generator has words: {self.words}: give it a text tower if that is 'tower'.")
        decoding = decoding or Decoding()
        with evaluating(self):
            steps = self.steps(memory, mask, tower, findings)
            if decoding.beams > 1:
                return by_beams(steps, first, stop, longest, decoding)[0]
            return one_by_one(steps, first, stop, longest, decoding, draws)


def one_by_one(
    steps: Steps, first: Tensor, stop: int, longest: int, decoding: Decoding, draws: Tensor | None
) -> Tensor:
    """Take the most probable word at each place, or one that is drawn; see `Speaker.write`."""
    if decoding.drawn and draws is None:
        raise ConfigError("A decoding that draws needs draws: give one number in [0, 1) a row and word.")
    ids, done = first, torch.zeros(len(first), dtype=torch.bool, device=first.device)
    for at in range(longest):
        if bool(done.all()):
            break
        logits = steps.next(ids)
        new = logits.argmax(dim=-1) if draws is None else drawn(logits, draws[:, at], decoding)
        new = new.masked_fill(done, stop)
        done = done | (new == stop)
        ids = torch.cat([ids, new[:, None]], dim=1)
    return ids[:, first.shape[1] :]


def drawn(logits: Tensor, draws: Tensor, decoding: Decoding) -> Tensor:
    """Return the word (R,) of each row at which the summed probabilities, largest first, pass its draw."""
    assert decoding.temperature is not None
    wide = collectives.widest(logits.device)
    shares, order = (logits.to(wide) / decoding.temperature).softmax(dim=1).sort(dim=1, descending=True, stable=True)
    shares = shares * (shares.cumsum(dim=1) - shares < decoding.top_p - 1e-12)
    bounds = shares.cumsum(dim=1)
    at = (bounds <= draws[:, None] * bounds[:, -1:]).sum(dim=1)
    return order.gather(1, at.clamp(max=order.shape[1] - 1)[:, None])[:, 0]


def by_beams(steps: Steps, first: Tensor, stop: int, longest: int, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Write by beams: at each place the B best of all beams' continuations and of the texts that are done go on.

    Returns:
        (R, T) as `Speaker.write`, and the sums of the log probabilities of what was written, (R,).
    """
    rows, beams, given = len(first), decoding.beams, first.shape[1]
    at = torch.arange(rows, device=first.device)
    ids, sums = first[:, None], torch.zeros(rows, 1, dtype=collectives.widest(first.device), device=first.device)
    done, lengths = sums > 0, torch.zeros_like(sums)
    for _ in range(longest):
        if bool(done.all()):
            break
        now = ids.shape[1]
        logs = steps.next(ids.flatten(0, 1)).to(sums.dtype).log_softmax(dim=-1).view(rows, now, -1)
        vocabulary = logs.shape[2]
        # A text that is done goes on in one way, with another stop, which costs nothing and does not lengthen it.
        still = torch.full_like(logs, float("-inf"))
        still[:, :, stop] = 0.0
        every = sums[:, :, None] + torch.where(done[:, :, None], still, logs)
        longer = (lengths + (~done).to(sums.dtype))[:, :, None].expand_as(every)
        marks = every / longer.clamp(min=1.0) ** decoding.length_penalty
        best = marks.flatten(1).topk(min(beams, now * vocabulary), dim=1).indices
        from_beam, word = best // vocabulary, best % vocabulary
        sums, lengths = every.flatten(1).gather(1, best), longer.flatten(1).gather(1, best)
        done = done.gather(1, from_beam) | (word == stop)
        ids = torch.cat([ids[at[:, None], from_beam], word[:, :, None]], dim=2)
        steps.pick((at[:, None] * now + from_beam).flatten())
    marks = sums / lengths.clamp(min=1.0) ** decoding.length_penalty
    chosen = marks.argmax(dim=1)
    written = ids[at, chosen, given:]
    ends = (written == stop).int().cumsum(dim=1) == 0
    return written[:, : max(ends.sum(dim=1).tolist(), default=0) + 1], sums[at, chosen]
