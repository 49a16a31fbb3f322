"""The exception tree: everything raydnnr raises on purpose.

::

    RaydnnrError
    ├── ConfigError            a file, key, value or option the user can mend; exit status 2
    │   ├── ExpressionError    an expression that does not parse, or uses what is not allowed
    │   └── RunDirectoryError  a run directory that holds another scan, or cannot be used
    ├── StorageError           the run directory became unwritable while the scan ran (disk full, quota)
    ├── SlhaError              text that is not SLHA, or an entry that is not there
    ├── InvalidPoint           the physics said no to this parameter point (tachyon, no convergence)
    └── ToolFailure            a code broke on this parameter point (crash, time-out, rubbish)

`InvalidPoint` and `ToolFailure` never leave a worker: they become the ``status`` and ``reason`` of a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RaydnnrError(Exception):
    """Base of every exception raised on purpose."""


class ConfigError(RaydnnrError):
    """Something the user wrote is wrong. The message names where, what came and what is accepted."""


class ExpressionError(ConfigError):
    """An expression does not parse, or uses a name, call or syntax that is not allowed."""


class RunDirectoryError(ConfigError):
    """A run directory holds another scan, belongs to a running driver, or cannot be used."""


class StorageError(RaydnnrError):
    """The run directory can no longer be written; what was recorded before is safe."""


class SlhaError(RaydnnrError):
    """Text that is not SLHA, or an entry that is not in it."""


class InvalidPoint(RaydnnrError):
    """The physics has no answer at this parameter point. Raise it in your own Python physics."""


class ToolFailure(RaydnnrError):
    """A code broke on this parameter point."""


def did_you_mean(word: str, accepted: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the accepted word nearest to ``word``, or an empty string.

    >>> did_you_mean("sigam", ["mean", "sigma"])
    " Did you mean 'sigma'?"
    >>> did_you_mean("zzz", ["mean", "sigma"])
    ''
    """
    nearest = difflib.get_close_matches(word, list(accepted), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
