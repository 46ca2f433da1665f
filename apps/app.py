"""The reading room on a host of demos, such as a Hugging Face Space: synthetic studies for anybody, nothing uploaded.

Models that lie in ``bundles/`` beside this file are asked. Elsewhere start ``medvlp demo``, which serves this machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from medvlp.serving import Options, open_room


def main() -> None:
    """Open the public room on every address."""
    bundles = tuple(sorted(path.parent for path in Path(__file__).parent.glob("bundles/*/bundle.yaml")))
    space = os.environ.get("SPACE_HOST", "")  # under which name visitors come
    options = Options(
        bundles=bundles,
        host="0.0.0.0",
        port=int(os.environ.get("PORT", "7860")),
        names=(space,) if space else (),
        public=True,
        framed_by="https://huggingface.co" if space else "",
    )
    open_room(options).wait(print)


if __name__ == "__main__":
    main()
