"""Pre-norm transformer blocks on torch's fused attention: trunks of towers, and words that look at a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.errors import ConfigError

_SHORT = 128
_NARROW = 256


@dataclass
class KeyValues:
    """Keys and values (R, heads, N, D) that a layer has made already, while words are written one by one."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens and return all."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values


class Attention(nn.Module):
    """Multi-head self-attention over (R, N, W); keys that the mask hides get no weight, later ones if `causal`."""

    def __init__(self, *, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        refuse_heads(heads, width)
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None, past: KeyValues | None = None) -> Tensor:
        """Return (R, N, W); `mask` (R, N) is True where a key is real, and not needed where later ones are hidden.

        `past` of a causal layer are the tokens before these, which then are one, or the first.
        """
        q, k, v = self._split(tokens)
        keep = None if mask is None or self.causal else mask[:, None, None, :]
        if past is not None:
            k, v = past.extend(k, v)
        return self.output(_merge_heads(_attend(q, k, v, keep, causal=self.causal and k.shape[2] == q.shape[2])))

    def weights(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention weights, mean over heads, (R, N queries, N keys)."""
        q, k, _ = self._split(tokens)
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None and not self.causal:
            logits = logits.masked_fill(~mask[:, None, None, :], float("-inf"))
        if self.causal:
            later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
            logits = logits.masked_fill(later, float("-inf"))
        return logits.softmax(dim=-1).mean(dim=1)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (_split_heads(part, self.heads) for part in self.qkv(tokens).chunk(3, dim=-1))
        return q, k, v


class CrossAttention(nn.Module):
    """Multi-head attention of (R, L, W) over a context (R, N, W'); keys that the mask hides get no weight."""

    def __init__(self, *, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        refuse_heads(heads, width)
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor | None, past: KeyValues | None = None) -> Tensor:
        """Return (R, L, W); `past` keeps what was made of the context, which then must be the same at each call."""
        q = _split_heads(self.query(tokens), self.heads)
        if past is not None and past.keys is not None and past.values is not None:
            k, v = past.keys, past.values
        else:
            k, v = (_split_heads(part, self.heads) for part in self.key_value(context).chunk(2, dim=-1))
        if past is not None:
            past.keys, past.values = k, v
        keep = None if mask is None else mask[:, None, None, :]
        return self.output(_merge_heads(_attend(q, k, v, keep, causal=False)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, *, width: int, heads: int, mlp_ratio: float, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, causal=causal)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return (R, N, W)."""
        tokens = tokens + self.dropout(self.attention(self.norm_attention(tokens), mask))
        return tokens + self.dropout(self.mlp(self.norm_mlp(tokens)))


@dataclass
class BlockPast:
    """What a block keeps while words are written one by one."""

    words: KeyValues = field(default_factory=KeyValues)
    image: KeyValues = field(default_factory=KeyValues)


class CrossBlock(nn.Module):
    """Decoder block: self-attention of words, cross-attention to the image, MLP; each pre-norm and residual.

    Args:
        width: of the words.
        context_width: of the picture's vectors.
        heads: of both attentions; divides the width.
        mlp_ratio: width of the hidden layer over the width.
        dropout: of each residual branch.
        causal: no word sees a later one.
    """

    def __init__(
        self, *, width: int, context_width: int, heads: int, mlp_ratio: float, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.norm_words = nn.LayerNorm(width)
        self.words = Attention(width=width, heads=heads, causal=causal)
        self.norm_image = nn.LayerNorm(width)
        self.image = CrossAttention(width=width, context_width=context_width, heads=heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        words: Tensor,
        image: Tensor,
        mask: Tensor | None,
        *,
        word_mask: Tensor | None = None,
        past: BlockPast | None = None,
    ) -> Tensor:
        """Return (R, L, W) of words (R, L, W) that look at `image` (R, N, W').

        `mask` (R, N) and `word_mask` (R, L) are True where both are real; a causal block needs no `word_mask`, as
        padding comes last. `past` is what words before these left, see `Attention`.
        """
        before, seen = (None, None) if past is None else (past.words, past.image)
        words = words + self.dropout(self.words(self.norm_words(words), word_mask, before))
        words = words + self.dropout(self.image(self.norm_image(words), image, mask, seen))
        return words + self.dropout(self.mlp(self.norm_mlp(words)))


@dataclass(frozen=True)
class TrunkOutput:
    """What a trunk returns: tokens (R, N, W), and where asked for layers (R, L, N, W) and attention (R, L, N, N)."""

    tokens: Tensor
    layers: Tensor | None
    attention: Tensor | None


class Trunk(nn.Module):
    """Blocks and a final norm; hidden layers are `mlp_ratio` times the width, each branch has its `dropout`."""

    def __init__(
        self, *, width: int, layers: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0, causal: bool = False
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"A transformer of {layers} layers encodes nothing: set layers to 1 or more.")
        self.width = width
        self.causal = causal
        self.blocks: Sequence[Block] = nn.ModuleList(  # pyrefly: ignore
            Block(width=width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, causal=causal) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self._initialise(layers)

    def forward(self, tokens: Tensor, mask: Tensor | None, *, layers: bool, attention: bool) -> TrunkOutput:
        """Run the blocks over (R, N, W); `layers` and `attention` say what to keep on the way.

        On a processor a narrow trunk computes in float32 under autocast: each new length of texts has oneDNN compile
        bfloat16 kernels, which takes longer than products that small.
        """
        if tokens.device.type == "cpu" and self.width < _NARROW and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self._through(tokens.float(), mask, layers=layers, attention=attention)
        return self._through(tokens, mask, layers=layers, attention=attention)

    def _through(self, tokens: Tensor, mask: Tensor | None, *, layers: bool, attention: bool) -> TrunkOutput:
        states: list[Tensor] = []
        weights: list[Tensor] = []
        for block in self.blocks:
            if attention:
                weights.append(block.attention.weights(block.norm_attention(tokens), mask))
            tokens = block(tokens, mask)
            if layers:
                states.append(tokens)
        return TrunkOutput(
            self.norm(tokens),
            torch.stack(states, dim=1) if layers else None,
            torch.stack(weights, dim=1) if attention else None,
        )

    def _initialise(self, layers: int) -> None:
        # CLIP's widths: inputs keep unit variance, and the residual stream does not grow with depth.
        branch = self.width**-0.5 * (2 * layers) ** -0.5
        for block in self.blocks:
            first, last = block.mlp[0], block.mlp[-1]
            qkv, output = (block.attention.qkv, self.width**-0.5), (block.attention.output, branch)
            for linear, std in (qkv, output, (first, (2 * self.width) ** -0.5), (last, branch)):
                assert isinstance(linear, nn.Linear)
                nn.init.normal_(linear.weight, std=std)
                nn.init.zeros_(linear.bias)


def refuse_heads(heads: int, width: int, *, of: str = "") -> None:
    """Refuse attention heads that do not divide the width of a component."""
    if width % heads:
        raise ConfigError(
            f"{heads} attention heads do not divide the width {width}{of and f' of {of}'}: choose a divisor of it."
        )


def embeddings_of(words: int, *, width: int, length: int) -> tuple[nn.Embedding, nn.Parameter]:
    """Return vectors of words and of their places as CLIP starts them, with spreads of 0.02 and 0.01."""
    word, place = nn.Embedding(words, width), nn.Parameter(torch.empty(length, width))
    nn.init.normal_(word.weight, std=0.02)
    nn.init.normal_(place, std=0.01)
    return word, place


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Set a layer's weights and bias to zero, so that its residual branch starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def at_rest(block: CrossBlock) -> CrossBlock:
    """Let the residual branches of a block start as nothing: it returns its words."""
    last = block.mlp[-1]
    assert isinstance(last, nn.Linear)
    for layer in (block.words.output, block.image.output, last):
        zeroed(layer)
    return block


def mlp(width: int, ratio: float) -> nn.Sequential:
    """Return Linear, GELU, Linear."""
    hidden = round(width * ratio)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def _attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, *, causal: bool) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v over (R, heads, L, D).

    torch's fused kernel, but for short bfloat16 sequences on a CPU, where its backward takes twice as long or more.
    """
    short = q.device.type == "cpu" and q.dtype == torch.bfloat16 and max(q.shape[2], k.shape[2]) <= _SHORT
    if causal or not short:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep, is_causal=causal)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if keep is not None:
        logits = logits.masked_fill(~keep, float("-inf"))
    return logits.softmax(dim=-1) @ v


def _split_heads(tokens: Tensor, heads: int) -> Tensor:
    rows, length, width = tokens.shape
    return tokens.view(rows, length, heads, width // heads).transpose(1, 2)


def _merge_heads(tokens: Tensor) -> Tensor:
    rows, heads, length, width = tokens.shape
    return tokens.transpose(1, 2).reshape(rows, length, heads * width)
