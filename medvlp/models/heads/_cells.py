"""Cells of a picture as vectors in the space of its texts: through the model's own projection, or a part of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head

# Rows with tokens (R, N, W) -> these tokens (R, N, D) through the projection that the model gives its pictures
Project = Callable[[Encoded], Tensor]


def projected_tokens(encoded: Encoded, head: Head | None) -> Tensor:
    """Return tokens (R, N, D) through a projection that reads the pooled vector, each as if it were that vector.

    It assumes that a token lives in the space of the pooled vector, which holds for mean and attention pooling, and for
    the values of a class token's last attention (MaskCLIP, Zhou et al. 2022).

    Raises:
        ConfigError: for another projection, or tokens of another width.
    """
    tokens, pooled = encoded.part("tokens"), encoded.pooled
    if head is None or head.reads != ("pooled",):
        raise ConfigError(
            "This model projects no single tokens and its image projection does not read the pooled vector: add a head "
            "`image/local: {name: projection, reads: tokens}`, or take the map hires_cam."
        )
    try:
        return head(replace(encoded, pooled=tokens), "raw")["raw"]
    except RuntimeError:  # a matrix of another width
        width = "another width" if pooled is None else f"width {pooled.shape[-1]}"
        raise ConfigError(
            f"Tokens of width {tokens.shape[-1]} do not fit the image projection, which reads a pooled vector of "
            f"{width}: take the map hires_cam."
        ) from None


def cells_read(source: str) -> tuple[str, ...]:
    """Return what a head reads for its cells, see `cells_of`.

    Example:
        >>> cells_read("new"), cells_read("image"), cells_read("local")
        ((), ('tokens', 'raw'), ('local', 'raw'))
    """
    return () if source == "new" else ("tokens" if source == "image" else source, "raw")


def cells_of(encoded: Encoded, source: str, project: Project | None, *, axes: int, width: int, head: str) -> Tensor:
    """Return the cells of pictures (R, D, rows, columns), in a volume (R, D, slices, rows, columns).

    Args:
        encoded: rows with what `cells_read` names.
        source: ``image``: tokens through `project`; else a part of tokens in the space of texts, such as ``local``.
        project: the model's projection of pictures.
        axes: 2 or 3.
        width: D, that of the texts.
        head: name, for errors.

    Raises:
        ConfigError: for tokens that form no grid, or of another width than the texts.
    """
    if source == "image" and project is None:
        raise ConfigError(f"Head {head!r} has no projection of pictures to take its cells through: set cells to new.")
    cells = project(encoded) if source == "image" and project is not None else encoded.part(source)
    if encoded.grid is None or len(encoded.grid) != axes:
        raise ConfigError(f"Head {head!r} reads cells, and the tokens of this tower form no grid: set cells to new.")
    if cells.shape[2] != width:
        raise ConfigError(
            f"Head {head!r} compares cells of width {cells.shape[2]} with texts of width {width}: let one encoder make "
            f"both, or set cells to new."
        )
    return cells.transpose(1, 2).unflatten(2, encoded.grid)
