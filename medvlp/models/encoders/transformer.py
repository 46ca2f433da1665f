"""A small text transformer, trained from scratch on the reports at hand."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Trunk
from medvlp.models.encoders._text import TextPool, TextTower
from medvlp.text.tokenizers import Tokenizer


class TextTransformer(TextTower):
    """Pre-norm transformer with learned positions, GELU and fused attention; every token sees every real token.

    With ``causal`` each token sees itself and those before it, as in CLIP and in the unimodal half of CoCa's text
    decoder (Yu et al. 2022): a generator can stand on its tokens, and ``pool: last`` is the token that has seen the
    whole text.

    Args:
        width: of tokens and of the pooled vector.
        layers: number of blocks.
        heads: attention heads; divides the width.
        mlp_ratio: width of the blocks' hidden layer over the width.
        pool: ``mean`` over real tokens, ``cls`` the first token, ``last`` the last real token.
        causal: no token sees a later one.
        dropout: of each residual branch; above 0 two passes over the same rows repeat only by their seed.
        tokenizer: name of the tokenizer, for the reader of the configuration; whoever builds the model builds it.

    Raises:
        ConfigError: if `heads` does not divide the width, or a causal tower is pooled at its first token.

    Example:
        >>> from medvlp.models.encoders._text import encode_texts
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> tower = TextTransformer(words=words, width=8, layers=1, heads=2)
        >>> encode_texts(tower, ["effusion", "left"], parts=frozenset({"pooled"})).pooled.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        *,
        words: Annotated[Tokenizer, FromModel("tokenizer")],
        width: Annotated[int, Field(ge=1)] = 192,
        layers: Annotated[int, Field(ge=1)] = 4,
        heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        pool: TextPool = "mean",
        causal: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        tokenizer: str | None = None,
    ) -> None:
        if causal and pool == "cls":
            raise ConfigError("The first token of a causal text tower sees nothing of the text: set pool to last.")
        trunk = Trunk(width=width, layers=layers, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, causal=causal)
        super().__init__(words=words, trunk=trunk, own=True, pool=pool)
