"""The explorer as a script: ``python apps/explorer.py RUNS [BUNDLE ...]``; ``medvlp demo --explorer`` has options."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from medvlp.serving import Options, open_explorer


def main() -> None:
    """Open the explorer of a folder, by default this one, on loopback."""
    folder, *bundles = [Path(name) for name in sys.argv[1:]] or [Path()]
    port = int(os.environ.get("PORT", "7860"))
    open_explorer(folder, Options(bundles=tuple(bundles), port=port)).wait(print)


if __name__ == "__main__":
    main()
