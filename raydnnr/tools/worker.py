"""Worker: the child process in which a Python physics function runs, and the messages it exchanges.

``python -m raydnnr.tools.worker READ_FD WRITE_FD``. A message is a JSON header and a binary body, each behind its
length. The first one says what to run and is answered once that is imported; then each one is a point (``{"point":
{...}}``) or a batch (names in the header, float64 columns in the body), answered before the next is read. So when the
process dies, the parent knows which point it was at. What the function prints goes to the log that the parent gave.

Nothing heavy is imported here: NumPy only where a batch comes, the rest is the user's.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from raydnnr.errors import InvalidPoint, did_you_mean

OK, INVALID, FAILED = 0, 1, 2  # as in `raydnnr.evaluation.Status`, which is too heavy to import here
MAX_FILE_BYTES = 1 << 30  # of any file it writes, its log included: endless printing must not fill the memory
_HEAD = struct.Struct("<IQ")
_CHUNK = 1 << 20

Header = dict[str, Any]


def send(fd: int, header: Mapping[str, object], body: bytes | memoryview = b"") -> None:
    """Write one message; blocks until the other side has read it, but for what a pipe holds."""
    words = json.dumps(header).encode()
    if len(body) < 4096:
        _write(fd, _HEAD.pack(len(words), len(body)) + words + bytes(body))
    else:
        _write(fd, _HEAD.pack(len(words), len(body)) + words)
        _write(fd, body)


class Inbox:
    """Puts messages together from what a pipe delivers."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()
        self._lengths: tuple[int, int] | None = None

    def read(self) -> bool:
        """Take in what is there (blocks if nothing is); False at the end of the pipe."""
        data = os.read(self._fd, _CHUNK)
        self._data += data
        return bool(data)

    def take(self) -> tuple[Header, bytearray] | None:
        """The next message, if it is complete."""
        if self._lengths is None and len(self._data) >= _HEAD.size:
            self._lengths = _HEAD.unpack_from(self._data)
        if self._lengths is None or len(self._data) < _HEAD.size + sum(self._lengths):
            return None
        start, end = _HEAD.size, _HEAD.size + self._lengths[0]
        header = json.loads(self._data[start:end])
        body = self._data[end : end + self._lengths[1]]
        del self._data[: end + self._lengths[1]]
        self._lengths = None
        return header, body


def load(address: str, looked_in: list[str]) -> Callable[..., Any]:
    """Import a function.

    Args:
        address: ``module:function``.
        looked_in: The folders it may have been meant to be in, for the message.

    Raises:
        ImportError: With the address, the folders and what went wrong.
    """
    module_name, _, name = address.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ImportError(f"{address!r}: there is no module {error.name!r} in {', '.join(looked_in)} or among "
                              "the installed packages") from None
        raise
    for part in name.split("."):
        if not hasattr(found, part):
            raise ImportError(f"{address!r}: {getattr(found, '__file__', module_name)} has no {part!r}."
                              + did_you_mean(part, dir(found)))
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(f"{address!r} is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def answer_point(function: Callable[..., Any], point: dict[str, float]) -> Header:
    """Run the function on one point."""
    answer = _call(function, point)
    if "returned" not in answer:
        return answer
    values, unusable = {}, {}
    for key, value in answer.pop("returned").items():
        try:
            values[str(key)] = float(value)
        except (TypeError, ValueError, OverflowError):
            unusable[str(key)] = f"is a {type(value).__name__}, not a number"
    return {**answer, "values": values, "unusable": unusable}


def answer_batch(function: Callable[..., Any], header: Header, body: bytearray) -> tuple[Header, bytes]:
    """Run the function on a batch; the body of the answer has one column per wanted key (None: every key)."""
    import numpy as np

    n_points = header["n_points"]
    columns = np.frombuffer(body).reshape(len(header["names"]), n_points)
    answer = _call(function, dict(zip(header["names"], columns, strict=True)))
    if "returned" not in answer:
        return answer, b""
    returned = {str(key): value for key, value in answer.pop("returned").items()}
    wanted = list(returned) if header["wanted"] is None else header["wanted"]
    values = np.full((len(wanted), n_points), np.nan)
    unusable = {}
    for k, key in enumerate(wanted):
        if key not in returned:
            continue
        try:
            column = np.asarray(returned[key])
            if np.iscomplexobj(column):
                raise TypeError("numpy would drop the imaginary part")
            column = column.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            unusable[key] = f"is a {type(returned[key]).__name__} that is no array of numbers"
            continue
        if column.shape == (n_points,):
            values[k] = column
        else:
            unusable[key] = f"has shape {column.shape}, not one value per point"
    return {**answer, "keys": list(returned), "unusable": unusable}, values.tobytes()


def main() -> None:
    """The child's life: set up, then answer until the pipe closes."""
    read_fd, write_fd = int(sys.argv[1]), int(sys.argv[2])
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)
    inbox = Inbox(read_fd)
    setup = _next(inbox)
    if setup is None:
        return
    try:
        function = _set_up(*setup)
    except (Exception, SystemExit) as error:
        send(write_fd, {"status": FAILED, "reason": f"{type(error).__name__}: {error}", "trace": _trace(error)})
        return
    send(write_fd, {"status": OK})
    while (message := _next(inbox)) is not None:
        header, body = message
        if "point" in header:
            answer, columns = answer_point(function, header["point"]), b""
        else:
            answer, columns = answer_batch(function, header, body)
        _flush()
        send(write_fd, answer, memoryview(columns))


def _set_up(header: Header, body: bytearray) -> Callable[..., Any]:
    """Limits, paths, and the function."""
    faulthandler.enable()
    faulthandler.register(signal.SIGTERM, chain=True)  # a time-out shows where it hung
    _set_limits(header["memory_bytes"])
    if header["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = header["pythonpath"]
    sys.path[:] = dict.fromkeys([*header["path"], *sys.path])
    if header["function"] is None:
        function: Callable[..., Any] = pickle.loads(bytes(body))  # from our parent, who made it with cloudpickle
        return function
    return load(header["function"], header["looked_in"])


def _set_limits(memory_bytes: int | None) -> None:
    for what, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
                        (resource.RLIMIT_CORE, 0)):
        if value is not None:
            hard = resource.getrlimit(what)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            with contextlib.suppress(OSError, ValueError):  # macOS knows no limit of address space
                resource.setrlimit(what, (value, hard))


def _call(function: Callable[..., Any], argument: object) -> Header:
    """The worker's edge: whatever the user's function does becomes a status."""
    try:
        returned = function(argument)
    except InvalidPoint as error:
        return {"status": INVALID, "reason": str(error) or "the function raised InvalidPoint"}
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        message = str(error).strip().split("\n", 1)[0]
        first = f"{type(error).__name__}: {message}" if message else type(error).__name__
        return {"status": FAILED, "reason": first, "trace": _trace(error)}
    if not isinstance(returned, Mapping):
        return {"status": FAILED, "reason": f"the function returned a {type(returned).__name__}, "
                                            "not a dict of observables"}
    return {"status": OK, "returned": returned}


def _trace(error: BaseException) -> str:
    """The traceback without our own frame."""
    frames = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, frames.tb_next if frames else None))[-3000:]


def _next(inbox: Inbox) -> tuple[Header, bytearray] | None:
    while (message := inbox.take()) is None:
        if not inbox.read():
            return None
    return message


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    main()
