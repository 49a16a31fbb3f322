"""Kinds: from a word and a table of settings to a checked frozen dataclass.

A kind is a frozen dataclass whose fields are its TOML keys. `choose` finds the class of a word in a registry (or in a
package of the user's, ``package.module:Class``); `build` makes the value, with an error for everything that is wrong.
"""

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from raydnnr.errors import ConfigError, did_you_mean

T = TypeVar("T")


def choose(word: object, kinds: Mapping[str, type], where: str) -> type:
    """The class that ``word`` names.

    Args:
        word: A key of ``kinds``, or ``package.module:Class``.
        kinds: The registry.
        where: Table and key, for the message.

    Raises:
        ConfigError: No such word, module or class.

    Example:
        >>> choose("gaus", {"gauss": object, "upper": object}, "[observables.mh.likelihood]")
        Traceback (most recent call last):
        ...
        raydnnr.errors.ConfigError: [observables.mh.likelihood]: unknown kind 'gaus'; choose one of gauss, upper, \
or name your own as 'package.module:Class'. Did you mean 'gauss'?
    """
    if isinstance(word, str) and word in kinds:
        return kinds[word]
    if not isinstance(word, str) or ":" not in word:
        raise ConfigError(f"{where}: unknown kind {word!r}; choose one of {', '.join(kinds)}, or name your own as "
                          f"'package.module:Class'.{did_you_mean(str(word), kinds)}")
    module, _, name = word.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything
        raise ConfigError(f"{where}: {word!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise ConfigError(f"{where}: {word!r} is not a dataclass; a kind is a frozen dataclass "
                          "whose fields are its keys")
    return found


def build(cls: type[T], settings: Mapping[str, object], where: str) -> T:
    """A kind from its settings.

    Args:
        cls: A frozen dataclass.
        settings: As TOML gives them: lists become tuples, whole numbers may stand for floats.
        where: Table, for the message.

    Raises:
        ConfigError: A key that is unknown or missing, a value of another type, or one that the kind refuses.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in settings:
        if key not in fields:
            raise ConfigError(f"{where}: no setting {key!r}; it accepts {', '.join(fields) or 'no settings'}."
                              + did_you_mean(key, fields))
    for name, field in fields.items():
        if name not in settings and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: {name!r} is missing; it accepts {', '.join(fields)}")
    values = {key: _typed(value, hints[key], f"{where}: {key}") for key, value in settings.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def check_fields(value: object, where: str) -> None:
    """Give the fields of a frozen dataclass the types they are annotated with, as `build` does; for ``__post_init__``.

    Args:
        value: A frozen dataclass that Python users make themselves.
        where: Table, for the message.

    Raises:
        ConfigError: A value of another type: ``scan.points: got '5', wants a whole number``.
    """
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        typed = _typed(getattr(value, field.name), hints[field.name], f"{where}.{field.name}")
        object.__setattr__(value, field.name, typed)


def _typed(value: object, hint: Any, where: str) -> object:
    """The value as its annotation wants it; numbers of NumPy become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _typed_union(value, args, where, hint)
    if origin is tuple and isinstance(value, list | tuple):
        inner = args[:1] * len(value) if len(args) == 2 and args[1] is Ellipsis else args
        if len(inner) != len(value):
            raise ConfigError(f"{where}: got {len(value)} values, wants {len(inner)}")
        return tuple(_typed(v, h, f"{where}[{k}]") for k, (v, h) in enumerate(zip(value, inner, strict=True)))
    if hint is Any or (origin is not None and isinstance(value, origin)):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{where}: got a whole number beyond 1.8e308, wants a number") from None
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    if isinstance(hint, type) and hint not in _WORDS and hint is not tuple:
        return value  # a nested kind: its own checks decide
    raise ConfigError(f"{where}: got {value!r}, wants {_words(hint)}")


def _typed_union(value: object, options: tuple[Any, ...], where: str, hint: Any) -> object:
    for option in options:
        if option is type(None):
            if value is None:
                return None
            continue
        try:
            return _typed(value, option, where)
        except ConfigError:
            continue
    raise ConfigError(f"{where}: got {value!r}, wants {_words(hint)}")


_WORDS: dict[Any, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a text",
                          Path: "a path", type(None): "nothing"}


def _words(hint: Any) -> str:
    """An annotation in the words of a config."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"a list of {_words(args[0])}" if args and args[-1] is Ellipsis else f"a list of {len(args)} values"
    if origin is not None and issubclass(origin, Mapping):
        return "a table"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
