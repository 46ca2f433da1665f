"""What went wrong behind the explorer's page, in words for its reader."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from medvlp.core.errors import UserError
from medvlp.serving.app import place_of

_LOG = logging.getLogger("medvlp.serving")


def safely(function: Callable[..., Any]) -> Callable[..., Any]:
    """Say a user's mistake in the page; of anything else log the kind and place, never the values."""
    import gradio as gr

    @functools.wraps(function)
    def asked(*arguments: Any) -> Any:  # noqa: ANN401
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(str(error), duration=8, print_exception=False) from None
        except gr.Error:
            raise
        except Exception as error:
            _LOG.error("%s failed: %s at %s", function.__name__, type(error).__name__, place_of(error))
            raise gr.Error("This failed; the server's log says where.", print_exception=False) from None

    return asked
