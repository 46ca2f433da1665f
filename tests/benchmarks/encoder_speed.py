"""Images and reports a second on which the quick start's towers train: forward, backward and step; one JSON line.

    OMP_NUM_THREADS=2 python tests/benchmarks/encoder_speed.py [--config pretrain/phantom_clip.yaml] [--batch 32]

Reports are those that the phantom writes; pixels are noise, which costs what radiographs cost. `encoders.py` compares
many architectures; this measures the one that is used. The best of a few repeats counts: other work only slows.
"""

from __future__ import annotations

import argparse
import time

import torch
from _report import print_report

from medvlp.config.tree import load_config
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.models.build import build_model
from medvlp.phantom.report import write_report
from medvlp.phantom.sampling import sample_cohort
from medvlp.text.sections import report_text
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.precision import choose_precision


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--config", default="pretrain/phantom_clip.yaml")
    arguments.add_argument("--batch", type=int, default=None, help="default: as in the configuration")
    arguments.add_argument("--repeats", type=int, default=4)
    asked = arguments.parse_args()
    config = load_config(asked.config, ["data.root=unused"])
    rows = asked.batch or config.training.batch
    texts = reports(max(rows, 512))
    words = train_wordpiece(texts, vocab_size=config.tokenizer.vocab_size, max_length=config.tokenizer.max_length)
    model = build_model(config.model, tokenizer=words)
    optimiser = torch.optim.AdamW(model.parameters())
    size = int(config.data.prefix[0]["size"])
    channels = int(config.model["vision"].get("channels", 1))
    draws = torch.Generator().manual_seed(0)
    pixels = torch.rand(rows, channels, size, size, generator=draws)
    batch = Batch.of({"image": pixels, "text": texts[:rows]})
    precision = choose_precision(config.training.precision, torch.device("cpu"))
    rates = {}
    for name, views in (("images", ["image"]), ("reports", ["text"]), ("pairs", ["image", "text"])):
        plan = Plan.of(keys(*(f"{view}/embedding" for view in views)))
        best = float("inf")
        for repeat in range(asked.repeats + 1):
            start = time.perf_counter()
            with precision.autocast():
                encoded = model(batch, plan)
            encoded = model.finish(encoded, plan)
            torch.stack([encoded[view].part("embedding").float()[:, 0].mean() for view in views]).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            if repeat:  # the first call chooses kernels
                best = min(best, time.perf_counter() - start)
        rates[f"{name}_per_second"] = round(rows / best, 1)
    tokens = words(texts[:rows]).mask.sum(dim=1).float()
    towers = {kind: sum(p.numel() for p in tower.parameters()) for kind, tower in model.towers.items()}
    print_report(
        "encoder_speed",
        n=rows,
        packages=("torch", "timm"),
        config=asked.config,
        size=size,
        dtype=str(precision.dtype).removeprefix("torch."),
        parameters=towers,
        mean_tokens=round(float(tokens.mean()), 1),
        **rates,
    )


def reports(count: int) -> list[str]:
    """Return the findings and impression of that many phantom studies' reports."""
    studies = sample_cohort(patients=count, seed=0, modality="cxr")[:count]
    wholes = [write_report(study, seed=0, held_out=False).text for study in studies]
    return [report_text(whole, ("findings", "impression")).text for whole in wholes]


if __name__ == "__main__":
    main()
