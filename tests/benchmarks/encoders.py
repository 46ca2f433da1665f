"""How many images or texts a second an encoder trains on, forward and backward on this machine's CPU: JSON lines.

    OMP_NUM_THREADS=2 python tests/benchmarks/encoders.py [--size 128] [--batch 128] [--only PART_OF_A_NAME]

The best of a few repeats is printed. On a machine that does other work at the same time run it with one thread and read
``per_cpu_second``: processor time is hardly changed by neighbours, wall time is.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch

from medvlp.core.encoded import Encoded
from medvlp.models.encoders._text import encode_texts
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.text.tokenizers import TokenBatch, pad_batch

NARROW = {"channels": [32, 64, 128, 256], "stem_width": 16}
CANDIDATES = (
    ("resnet10t", {}),
    ("resnet10t", {**NARROW, "channels": [24, 48, 96, 192]}),
    ("resnet10t", NARROW),
    ("resnet10t", {"channels": [48, 96, 192, 384], "stem_width": 24}),
    ("resnet18", {"channels": [32, 64, 128, 256]}),
    ("resnet18", {"layers": [1, 1, 1, 1], "channels": [32, 64, 128, 256]}),
    ("resnet14t", {}),
    ("vit_tiny_patch16_224", {}),
    ("efficientvit_m0", {}),
    ("efficientvit_b0", {}),
    ("mobilenetv3_small_050", {}),
    ("mobilenetv4_conv_small_050", {}),
    ("convnext_atto", {}),
)


class _Words:
    name, identity, vocab_size, max_length, pad_id = "hash_words", "hash_words", 4096, 256, 0

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        rows = [[1 + zlib.crc32(word.encode()) % 4095 for word in text.split()] for text in texts]
        return pad_batch(rows, pad_id=0, truncated=0)

    def save(self, folder: str | Path) -> None:
        raise NotImplementedError


def rate(
    forward: Callable[[], Encoded], parameters: Sequence[torch.nn.Parameter], rows: int, dtype: str
) -> dict[str, float]:
    """Rows a second, and a second of processor time, of forward, backward and an AdamW step."""
    optimiser = torch.optim.AdamW(parameters)
    wall, processor = float("inf"), float("inf")
    for repeat in range(4):
        start, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            pooled = forward().part("pooled")
        pooled.float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        if repeat:  # the first call chooses kernels
            wall = min(wall, time.perf_counter() - start)
            processor = min(processor, time.process_time() - used)
    return {"per_second": round(rows / wall, 1), "per_cpu_second": round(rows / processor, 1)}


def main() -> None:
    """Print one line a candidate."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--size", type=int, default=128)
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--only", default="")
    chosen = arguments.parse_args()
    parts = frozenset({"pooled"})
    versions = {"torch": torch.__version__, "timm": timm.__version__, "threads": torch.get_num_threads()}
    pixels = torch.rand(chosen.batch, 1, chosen.size, chosen.size, generator=torch.Generator().manual_seed(0))
    for name, options in CANDIDATES:
        for norm in ("keep", "group"):
            for dtype in ("float32", "bfloat16"):
                if chosen.only not in name:
                    continue
                tower = TimmEncoder(architecture=name, image_size=chosen.size, norm=norm, options=options)
                line = {"encoder": name, "options": options, "norm": norm, "dtype": dtype, "size": chosen.size}
                line["millions"] = round(sum(p.numel() for p in tower.parameters()) / 1e6, 2)
                line["width"] = tower.width
                found = rate(lambda: tower(pixels, parts=parts), list(tower.parameters()), chosen.batch, dtype)  # noqa: B023
                print(json.dumps({**line, **found, "load": round(os.getloadavg()[0], 1), **versions}), flush=True)
    # Lengths of reports: 20 to 120 words, most near 55.
    lengths = [int(20 + 100 * ((i * 37 % 100) / 100) ** 1.5) for i in range(chosen.batch)]
    texts = [" ".join(f"w{(i * 7 + k * 13) % 900}" for k in range(n)) for i, n in enumerate(lengths)]
    for width, layers in ((128, 2), (128, 4), (192, 4), (256, 4)):
        for dtype in ("float32", "bfloat16"):
            if chosen.only not in "transformer":
                continue
            text = TextTransformer(words=_Words(), width=width, layers=layers, heads=4)
            found = rate(lambda: encode_texts(text, texts, parts=parts), list(text.parameters()), chosen.batch, dtype)  # noqa: B023
            line = {"encoder": "transformer", "width": width, "layers": layers, "dtype": dtype}
            line["mean_tokens"] = sum(lengths) / len(lengths)
            print(json.dumps({**line, **found, "load": round(os.getloadavg()[0], 1), **versions}), flush=True)


if __name__ == "__main__":
    main()
