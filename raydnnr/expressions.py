"""Expressions: arithmetic that a user wrote, checked word by word, to numbers; vectorised and never `eval`ed.

A text is parsed to Python's syntax tree, of which only numbers, names, arithmetic, comparisons, ``and or not``,
``a if c else b`` and calls of `FUNCTIONS` are understood.
All arithmetic is in float64: ``9**9**9`` is infinity, at once.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ExpressionError, did_you_mean

Array = NDArray[np.float64]
Values = Mapping[str, Any]  # name -> array of shape (N,), or a number

MAX_LENGTH = 10_000  # characters
MAX_DEPTH = 100  # nested operations


def _many(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *values: reduce(function, values)


def _each(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """A function of `math` on arrays: NaN where it is not defined, infinite where the value is too large."""
    def value(x: float) -> float:
        try:
            return function(x)
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    return np.vectorize(value, otypes=[np.float64])


def _power(base: Any, exponent: Any) -> Any:
    """A square is a product: exactly rounded, which numpy's power is not on processors with AVX-512."""
    return np.multiply(base, base) if np.ndim(exponent) == 0 and exponent == 2 else np.power(base, exponent)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int | None]] = {
    # name: (function, fewest arguments, most arguments)
    **{name: (getattr(np, name), 1, 1) for name in (
        "sqrt", "cbrt", "exp", "expm1", "log", "log10", "log2", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh",
        "sign", "floor", "ceil", "degrees", "radians")},
    "abs": (np.abs, 1, 1), "fabs": (np.abs, 1, 1), "round": (np.round, 1, 1),
    "asin": (np.arcsin, 1, 1), "acos": (np.arccos, 1, 1), "atan": (np.arctan, 1, 1),
    "asinh": (np.arcsinh, 1, 1), "acosh": (np.arccosh, 1, 1), "atanh": (np.arctanh, 1, 1),
    **{name: (_each(function), 1, 1) for name, function in (
        ("erf", math.erf), ("erfc", math.erfc), ("tgamma", math.gamma), ("lgamma", math.lgamma))},
    "trunc": (np.trunc, 1, 1), "copysign": (np.copysign, 2, 2),
    "atan2": (np.arctan2, 2, 2), "pow": (_power, 2, 2), "fmod": (np.fmod, 2, 2),
    "hypot": (_many(np.hypot), 2, None), "min": (_many(np.minimum), 2, None), "max": (_many(np.maximum), 2, None),
}
CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan, "True": 1.0, "False": 0.0}
RESERVED_WORDS = frozenset(FUNCTIONS) | frozenset(CONSTANTS)

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod, ast.Pow: _power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal, ast.NotEq: np.not_equal,
}


@dataclass(frozen=True)
class Expression:
    """One expression.

    Raises:
        ExpressionError: Anything but arithmetic, with the words that are not allowed and those that are.

    Example:
        >>> Expression("m0**2 + 0.5*m12**2").evaluate({"m0": 3.0, "m12": np.array([2.0, 4.0])}).tolist()
        [11.0, 17.0]
        >>> Expression("100 < mh < 140 and mh != 125").evaluate({"mh": np.array([99.0, 126.0])}).tolist()
        [0.0, 1.0]
        >>> Expression("__import__('os')")
        Traceback (most recent call last):
        ...
        raydnnr.errors.ExpressionError: "__import__('os')": a call of '__import__' is not allowed; \
functions are abs, acos, ...
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ExpressionError(f"{self.text!r} is not an expression; write it as a text")
        try:
            _check(self._tree, self.text, 0)
        except RecursionError:  # while a message quotes what is deeply nested
            raise ExpressionError(f"{self.text[:60]!r}...: nested deeper than {MAX_DEPTH} operations") from None

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            raise ExpressionError(f"an expression of {len(self.text)} characters; {MAX_LENGTH} are allowed")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(f"{self.text!r} is not an expression: {error}") from None

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables it uses (functions and constants are not among them)."""
        called = {node.func for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        return frozenset(node.id for node in ast.walk(self._tree)
                         if isinstance(node, ast.Name) and node not in called and node.id not in CONSTANTS)

    def check(self, known: Iterable[str], where: str) -> None:
        """Refuse variables that are not ``known``.

        Raises:
            ExpressionError: Names ``where``, the unknown word and the nearest known one.
        """
        known = list(known)
        for name in sorted(self.names.difference(known)):
            raise ExpressionError(f"{where}: {self.text!r} uses {name!r}, which is not known here; known are "
                                  f"{', '.join(known) or 'no names'}.{did_you_mean(name, known)}")

    def evaluate(self, values: Values) -> Array:
        """The value for each point.

        Args:
            values: Every name of `names`, as arrays of one shape or numbers.

        Returns:
            An array of the common shape (0-d for numbers only); NaN or infinity where it is not defined,
            1 and 0 for true and false.
        """
        with np.errstate(all="ignore"):
            return np.asarray(_value(self._tree, values), dtype=np.float64)

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "text", state["text"])


def _check(node: ast.expr, text: str, depth: int) -> None:
    """Refuse every node that `_value` does not understand."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"{text[:60]!r}...: nested deeper than {MAX_DEPTH} operations")
    if isinstance(node, ast.Call):
        _check_call(node, text)
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float):
            raise ExpressionError(f"{text!r}: {node.value!r} is not a number")
        if isinstance(node.value, int) and abs(node.value) > 10**300:
            raise ExpressionError(f"{text[:60]!r}: a number beyond 1e300")
    elif isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise ExpressionError(f"{text!r}: {node.id!r} is a function; write {node.id}(...)")
    elif not isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp):
        raise ExpressionError(f"{text!r}: {_word(node)} is not allowed; use numbers, names, + - * / // % **, "
                              "comparisons, 'and', 'or', 'not', 'a if c else b' and functions such as sqrt(x)")
    if isinstance(node, ast.BinOp) and type(node.op) not in _BINARY:
        raise ExpressionError(f"{text!r}: the operator {type(node.op).__name__} is not allowed; use ** for a power")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        raise ExpressionError(f"{text!r}: the operator ~ is not allowed; use 'not'")
    if isinstance(node, ast.Compare) and not all(type(op) in _COMPARE for op in node.ops):
        raise ExpressionError(f"{text!r}: 'is' and 'in' are not allowed; use ==, <, <=, >, >=")
    for child in _children(node):
        _check(child, text, depth + 1)


def _check_call(node: ast.Call, text: str) -> None:
    called = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if called not in FUNCTIONS:
        raise ExpressionError(f"{text!r}: a call of {called!r} is not allowed; functions are "
                              f"{', '.join(sorted(FUNCTIONS))}.{did_you_mean(called.rpartition('.')[2], FUNCTIONS)}")
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        raise ExpressionError(f"{text!r}: {called}() takes plain arguments only")
    _, fewest, most = FUNCTIONS[called]
    if len(node.args) < fewest or (most is not None and len(node.args) > most):
        raise ExpressionError(f"{text!r}: {called}() takes {fewest if fewest == most else f'{fewest} or more'} "
                              f"arguments, got {len(node.args)}")


def _children(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        return node.args
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _word(node: ast.expr) -> str:
    words = {ast.Attribute: "an attribute", ast.Subscript: "an index", ast.Lambda: "a lambda", ast.List: "a list",
             ast.Tuple: "a tuple", ast.Dict: "a dictionary", ast.JoinedStr: "a text"}
    return words.get(type(node), type(node).__name__) + f" ({ast.unparse(node)[:40]})"


def _value(node: ast.expr, values: Values) -> Any:
    """Value of a checked node."""
    if isinstance(node, ast.Constant):
        return np.float64(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return CONSTANTS[node.id] if node.id in CONSTANTS else np.asarray(values[node.id], dtype=np.float64)
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, values)
        if isinstance(node.op, ast.Not):
            return np.where(np.isnan(operand), np.nan, operand == 0)
        return np.negative(operand) if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.Compare):
        return _compare(node, values)
    if isinstance(node, ast.BoolOp):
        truths = [_value(v, values) for v in node.values]
        every = [np.where(np.isnan(t), np.nan, t != 0) for t in truths]
        return reduce(np.minimum if isinstance(node.op, ast.And) else np.maximum, every)
    if isinstance(node, ast.IfExp):
        test = _value(node.test, values)
        chosen = np.where(test != 0, _value(node.body, values), _value(node.orelse, values))
        return np.where(np.isnan(test), np.nan, chosen)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return FUNCTIONS[node.func.id][0](*(_value(a, values) for a in node.args))


def _compare(node: ast.Compare, values: Values) -> Any:
    """``a < b < c``; false where a side is NaN."""
    sides = [_value(side, values) for side in (node.left, *node.comparators)]
    steps = [_COMPARE[type(op)](a, b) & ~np.isnan(a) & ~np.isnan(b)
             for op, a, b in zip(node.ops, sides[:-1], sides[1:], strict=True)]
    return np.float64(1.0) * reduce(np.logical_and, steps)
