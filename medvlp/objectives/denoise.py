"""Denoising by a generator whose only condition is what the tower made of the picture: un2CLIP, GenHancer, DIVA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.models.heads.denoiser import Denoiser
from medvlp.objectives._draws import normal

_STEPS = 1000


class Denoise(Objective):
    r"""Mean squared error of a denoiser phi conditioned on c = E(x), over pixels, draws and images x.

    ``noise``:  L = E_{t, e} || e - phi(sqrt(a_t) x + sqrt(1 - a_t) e, t, c) ||^2,  a_t MONAI's linear schedule;
    ``flow``:   L = E_{t, e} || (e - x) - phi((1 - t) x + t e, t, c) ||^2,  e ~ N(0, 1).

    What c does not tell, the denoiser must guess, so who trains in a phase decides what is learned
    (``phases[].trainable``). First the denoiser, ``[model.heads.denoiser.*]``, with the tower frozen. Then the tower
    (``[model.towers.image.*, model.heads.image/raw.*]``) with the denoiser frozen: the same loss now asks it to tell
    what sharpens the drawing, also what no report names. No text takes part, and no bundle holds the denoiser.

    * **un2CLIP**: the options as they are. c is the embedding, and nothing that learns in the second phase stands
      between, so that it stays in the space of the texts. As known from the paper; not checked against its code.
    * **GenHancer**: ``parametrisation: flow, times: logit_normal, denoiser: {adapters: true}``, c the global vector
      alone; in the second phase the patch `lora` on the tower (rank 16, alpha 16; its dropout of 0.1 is left out) with
      denoiser and adapters frozen ("only") or trained ("all"). Published: a small FLUX transformer on a frozen VAE's
      latents, one token where a U-Net's cross-attention has `slots`.
    * **DIVA**: ``local: 0.3, draws: 2, denoiser: {slots: 1, vector: false}``; the vector and a random share of the
      tower's tokens, drawn with replacement: all of them are too easy, none is too hard, and the best share differs
      between towers. The linear maps ``model.heads.denoiser.context.*`` and ``.local.*`` train with the tower.
      Published: frozen Stable Diffusion, to whose text embedding of "" the mapped tokens are added; here the denoiser
      has learned under such tokens first.

    Several images of one sample share their draws.

    Args:
        image: view of the images.
        reads: what c is: ``embedding``, or another vector of the tower or of a head.
        local: share of the tower's tokens that are in the condition too; 0: none.
        parametrisation: ``noise`` or ``flow``, above.
        times: ``uniform``, or ``logit_normal``: t = sigmoid(z), z ~ N(0, 1) (Esser et al. 2024).
        draws: noisy copies of each image, averaged.
        head: name under which the denoiser is mounted.
        denoiser: options of the component `denoiser`.

    Returns:
        ``denoising``.

    Raises:
        ConfigError: for views that are no images.

    References:
        Li et al. 2025 (un2CLIP); Wang et al. 2024 (DIVA); Ma et al. 2025 (GenHancer); Liu et al. 2023 (rectified flow).

    Note:
        Whatever helps to draw is learned: collimation, burnt-in marks and the scanner's grain as well as a small
        nodule. Look at groups by site and device before and after, and fit thresholds and calibration again.

    Example:
        >>> sorted(map(str, Denoise(local=0.3).needs()))
        ['image', 'image/embedding', 'image/tokens']
        >>> import torch
        >>> class Silent(torch.nn.Module):  # its guess is 0
        ...     def pictures(self, pixels): return pixels
        ...     def denoise(self, noisy, steps, vector, tokens): return 0 * noisy
        >>> rows, many = {"image/embedding": torch.zeros(2, 4)}, Denoise(parametrisation="flow", draws=50)
        >>> ctx = Context.of(rows, {"image": 2 * torch.ones(2, 1, 16, 16)})
        >>> ctx.heads = {"denoiser": Silent()}
        >>> round(many(ctx)["denoising"].value().item(), 1)  # E (e - 2)^2 = 1 + 2^2
        5.0
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self,
        *,
        image: str = "image",
        reads: str = "embedding",
        local: Annotated[float, Field(ge=0, le=1)] = 0.0,
        parametrisation: Literal["noise", "flow"] = "noise",
        times: Literal["uniform", "logit_normal"] = "uniform",
        draws: Annotated[int, Field(ge=1)] = 1,
        head: str = "denoiser",
        denoiser: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
    ) -> None:
        from monai.networks.schedulers.ddpm import DDPMScheduler
        from monai.networks.schedulers.rectified_flow import RFlowScheduler

        super().__init__()
        if parse_field(image).kind != "image":
            raise ConfigError(f"Objective 'denoise' draws images, and {image!r} is none: name a view of images.")
        self.image, self.local, self.draws, self.head = image, local, draws, head
        self.parametrisation, self.times = parametrisation, times
        self.options = {**denoiser, "reads": reads, "local": local > 0}
        self._vector, self._tokens = f"{image}/{reads}", f"{image}/tokens"
        self._noised = (RFlowScheduler if parametrisation == "flow" else DDPMScheduler)(_STEPS).add_noise

    def needs(self) -> frozenset[Key]:
        """The pixels, the vector, and the tokens where they are in the condition."""
        return keys(self.image, self._vector, *([self._tokens] if self.local else []))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The denoiser."""
        return {self.head: HeadSpec("denoiser", self.options)}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        denoiser = cast("Denoiser", ctx.heads[self.head])
        rows = ctx.rows(self.image, self._vector)
        vector, sample = ctx[self._vector][rows.row], ctx.parts[parse_key(self._vector)].owner[rows.row]
        if not len(vector):
            return {"denoising": Term.of(vector.sum(dim=1))}
        clean = denoiser.pictures(rows.values.to(vector.dtype)).repeat_interleave(self.draws, 0)

        def drawn(*shape: int, name: str) -> Tensor:
            return ctx.uniform(self.draws, *shape, name=f"{self.head} {name}")[sample].flatten(0, 1)

        noise = normal(drawn(*clean.shape[1:], name="noise")).to(clean.dtype)
        share = drawn(name="time") if self.times == "uniform" else normal(drawn(name="time")).sigmoid()
        steps = (_STEPS * share).long() if self.parametrisation == "noise" else (_STEPS * share).to(clean.dtype)
        tokens = None
        if self.local:
            every = ctx[self._tokens][rows.row].repeat_interleave(self.draws, 0)
            count = max(1, round(self.local * every.shape[1]))
            at = (drawn(count, name="tokens") * every.shape[1]).long()
            tokens = every.gather(1, at[..., None].expand(-1, -1, every.shape[2]))
        noisy = self._noised(clean, noise, steps)
        guess = denoiser.denoise(noisy, steps, vector.repeat_interleave(self.draws, 0), tokens)
        target = noise if self.parametrisation == "noise" else noise - clean
        errors = (guess - target).square().mean(dim=(1, 2, 3)).unflatten(0, (-1, self.draws))
        return {"denoising": Term.of(errors.mean(dim=1))}
