"""What CgT-GAN asks of texts that were written: their reward by CLIP, where they end, and how probable they are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Column, Tokens


def clip_agg(image: Tensor, corpus: Tensor, written: Tensor, *, sharpness: float, scale: float) -> Tensor:
    """Return the CLIP-agg reward of CgT-GAN, (R,): how near texts lie to what the corpus would hold of images.

    e = sum_j softmax_j(t cos(v, c_j)) c_j; r = s/2 cos(e, c) + s/2 (1 - mean |e - c|). The authors' code has e and c as
    long as the text tower makes them, where the second half counts more.

    Args:
        image: v, (R, D) unit vectors.
        corpus: c_j, (K, D) unit vectors of all texts of the corpus.
        written: c, (R, D) unit vectors of the texts that are rewarded.
        sharpness: t; 0 compares with the corpus' mean, a very large one with the text that is nearest to the image.
        scale: s.

    Example:
        >>> v, corpus = torch.tensor([[0.6, 0.8]]), torch.eye(2)
        >>> round(clip_agg(v, corpus, corpus[1:], sharpness=99.0, scale=100.0).item(), 3)
        100.0
    """
    e = (sharpness * image @ corpus.T).softmax(dim=1) @ corpus
    return scale / 2 * (F.cosine_similarity(e, written, dim=1) + 1 - (e - written).abs().mean(dim=1))


def embedded(teacher: Any, ids: Tensor, mask: Tensor) -> Tensor:  # noqa: ANN401  (a teacher that holds a model)
    """Return the embeddings (R, D) of texts by their ids (R, L) of the teacher's tokenizer, without gradient."""
    owner = torch.arange(len(ids), device=ids.device)
    tokens = {teacher.model.tokenizer.identity: Tokens.trimmed(ids.cpu(), mask.cpu()).to(ids.device)}
    names = ("",) * len(ids)
    texts = Batch(names, owner.cpu(), {"text": Column(names, owner, tokens=tokens)})
    return teacher.encode(texts, Plan.of(keys("text/embedding")))["text"].part("embedding")


def whole_texts(written: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return texts with their first token, (R, 1 + T), and which of their tokens are real: all up to the first end.

    Example:
        >>> [each.tolist() for each in whole_texts(torch.tensor([[5, 2, 2]]), start=1, stop=2)]
        [[[1, 5, 2, 2]], [[True, True, True, False]]]
    """
    ids = torch.cat([torch.full_like(written[:, :1], start), written], dim=1)
    ended = (ids[:, 1:] == stop).int()
    return ids, torch.cat([torch.ones_like(ids[:, :1], dtype=torch.bool), ended.cumsum(dim=1) - ended == 0], dim=1)


def log_probability(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return log p (R,) of texts (R, 1 + T) given their first token; `logits` (R, T, V) are of what follows each."""
    logs = logits.log_softmax(dim=2).gather(2, ids[:, 1:, None])[:, :, 0]
    return torch.where(mask[:, 1:], logs, 0.0).sum(dim=1)
