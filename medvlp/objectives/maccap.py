"""MacCap (Qiu et al. 2024): CLOSE with several noisy copies in training, and a picture's regions when it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.protocols import AnswerSpec, HeadSpec
from medvlp.objectives.close import Close


class Maccap(Close):
    r"""`close` whose text vector stands C times, each with its own noise of variance 0.016; see `Close`.

    The answer puts C vectors of a picture in their place, u(v + region_c + n_c), see `medvlp.answers.maccap`: regions
    that the class token looks at differ from each other as the noisy copies did. The image tower must give attention,
    as a vision transformer does; the head `attended_regions` is mounted beside it.

    Args:
        text, target, head: as in `close`.
        std: of the noise in training, and in the answer.
        copies: C, and the regions that are looked at.
        decoder: head that writes: ``{name: limber, prompt: queries, length: 32, layers: 3, path: ...}`` is the paper's.

    Returns:
        ``next_token``.

    References:
        Qiu et al. 2024, "Mining fine-grained image-text alignment for zero-shot captioning via text-only training".

    Note:
        The regions are those that the class token attends to, which need not be where a finding is: a small one that no
        token attends to is not written of.

    Example:
        >>> Maccap().answers()[0].name, sorted(Maccap().heads()), sorted(map(str, Maccap().needs()))[0]
        ('maccap', ['captioner', 'image/regions'], 'text/embedding')
    """

    def __init__(
        self,
        *,
        text: str = "text",
        target: str | None = None,
        std: Annotated[float, Field(ge=0)] = 0.016**0.5,
        copies: Annotated[int, Field(ge=2)] = 10,
        decoder: Mapping[str, Any] = {},
        head: str = "captioner",
    ) -> None:
        super().__init__(text=text, target=target, std=std, copies=copies, decoder=decoder, head=head)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The writer, and the regions that it reads when it is asked."""
        return {**super().heads(), "image/regions": HeadSpec("attended_regions", {"count": self.copies}, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        """A report of a picture."""
        return (AnswerSpec("maccap", {"head": self.head, "std": self.std}),)
