"""medvlp: train, adapt, evaluate and show vision-language models for medical images.

Nothing heavy is loaded until a name is asked for.

Example:
    >>> import medvlp
    >>> medvlp.__version__.count(".")
    2
"""

import os
import sys

from medvlp.core.lazy import attach

__version__ = "0.1.0"

if sys.platform == "win32":
    raise ImportError("medvlp runs on Linux and macOS: on Windows, use it in the Subsystem for Linux (WSL).")

# timm imports wandb wherever it is installed, which from then on reports its own errors to its makers.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "io": "io",
        "load": "answers.asking.model",
        "read_image": "io.read",
        "read_volume": "io.volume_read",
        "UnreadableImage": "io.errors",
    },
)
