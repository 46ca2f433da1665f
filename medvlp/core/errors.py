"""The one exception that means "the user can mend this": one sentence, exit code 2, no traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the thing, the place, the reason and the way to mend it; the command line
    prints it and exits with ``exit_code``.
    """

    exit_code = 2


class ConfigError(UserError):
    """A key, value or combination in a configuration that cannot be built."""


class DataError(UserError):
    """A file, table or record that cannot be used as it is."""
