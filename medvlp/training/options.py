"""How a run is carried out: what does not change what is learned, and what little does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvlp.training.guard import GuardOptions

# What other trainers call a key, and where the same stands here.
OTHER_NAMES = (
    dict.fromkeys(("epochs", "max_epochs", "num_train_epochs", "max_steps"), "phases[0].until, in samples")
    | dict.fromkeys(("lr", "learning_rate"), "optimiser.rate")
    | dict.fromkeys(("batch_size", "per_device_train_batch_size"), "training.batch, over all processes")
    | dict.fromkeys(("accumulate", "accum_freq", "gradient_accumulation_steps"), "training.chunks")
    | dict.fromkeys(("amp", "bf16", "fp16"), "training.precision")
    | dict.fromkeys(("wandb", "report_to", "logger"), "training.track")
    | {"grad_checkpointing": "training.recompute", "gradient_checkpointing": "training.recompute"}
    | {"optimizer": "optimiser", "wd": "optimiser.weight_decay", "num_workers": "training.workers"}
)


class TrainingOptions(BaseModel):
    """Options of the loop; all horizons in samples.

    Attributes:
        batch: global batch, over all processes; a multiple of their number.
        chunks: parts in which a process encodes its share, to fit memory; gradients are the same.
        recompute: compute what is inside the blocks of towers again for the backward pass instead of keeping it: less
            memory, about a third more time, the same gradients.
        compile: let torch compile the blocks of towers, each in the first steps that meet its shapes: for GPUs (a
            processor gains nothing). Results agree with plain ones to rounding.
        parallel: what processes of ``torchrun`` divide: ``ddp`` the batch; ``fsdp`` also the weights that train, their
            gradients and moments, for models that fill a GPU. Checkpoints and gradients are the same.
        device: where; ``auto`` takes the first of cuda, mps, cpu.
        precision: number format of the towers; ``auto`` is bfloat16 where the device has units for it (on a processor
            narrow transformers stay in float32), else float32.
        workers: processes that read and augment.
        validate_every: samples between validations.
        checkpoint_every: samples between checkpoints.
        keep: last checkpoints kept, besides the best.
        log_every: samples between rows of the log.
        patience: validations of one phase without a new best that end the run early; null for never.
        average: horizon of the exponential moving average of the weights that is validated and released; null for none.
        remember: keep in memory what towers that learn nothing gave for each picture and text: they go through once,
            one by one, instead of once an epoch. Of no use where random views make every picture a new one.
        guard: when a step is skipped.
        deterministic: ask torch for deterministic kernels (bit for bit on CUDA too, at a price); what has none is
            refused.
        track: components of `medvlp.training.trackers`: services that rows go to, beside the log and TensorBoard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=128, gt=0)
    chunks: int = Field(default=1, gt=0)
    recompute: bool = False
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: int = Field(default=0, ge=0)
    validate_every: int = Field(default=5000, gt=0)
    checkpoint_every: int = Field(default=5000, gt=0)
    keep: int = Field(default=2, gt=0)
    log_every: int = Field(default=512, gt=0)
    patience: int | None = Field(default=None, gt=0)
    average: int | None = Field(default=None, gt=0)
    remember: bool = False
    guard: GuardOptions = GuardOptions()
    deterministic: bool = False
    track: list[dict[str, Any]] = Field(default_factory=list)
