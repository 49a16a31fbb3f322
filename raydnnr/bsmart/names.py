"""Names: BSMArt's variables and observables by names that columns and expressions can have; its expressions in ours."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterable, Sequence

from raydnnr.errors import ExpressionError
from raydnnr.evaluation import RESERVED
from raydnnr.expressions import CONSTANTS, FUNCTIONS, MAX_LENGTH, RESERVED_WORDS, Expression

_MODULES = {"math", "np", "numpy"}
_FUNCTIONS = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh",
              "arccosh": "acosh", "arctanh": "atanh", "power": "pow", "absolute": "abs", "maximum": "max",
              "minimum": "min", "gamma": "tgamma", "fix": "trunc",
              "deg2rad": "radians", "rad2deg": "degrees", "sign": "sign"}


def column_name(name: str) -> str:
    """The column that something of this name becomes.

    Example:
        >>> column_name("mqm2-ms2"), column_name("0"), column_name("lambda"), column_name("m0")
        ('mqm2_ms2', 'v0', 'lambda_', 'm0')
    """
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "v"
    if found[0].isdigit():
        found = f"v{found}"
    if found.startswith(("loss_", "seconds_")):
        found = f"of_{found}"
    while keyword.iskeyword(found) or found in RESERVED_WORDS or found in RESERVED:
        found += "_"
    return found


class Names:
    """New names by old ones, and the variables in their order, for ``VARIABLE[i]``."""

    def __init__(self, variables: Sequence[str]) -> None:
        self._new: dict[str, str] = {}
        self.variables = [self.add(name) for name in variables]

    def add(self, name: str) -> str:
        """Give something a name, one that nothing else has."""
        if name not in self._new:
            new = column_name(name)
            while new in self._new.values():
                new += "_"
            self._new[name] = new
        return self._new[name]

    def __getitem__(self, name: str) -> str:
        return self._new[name]

    def get(self, name: str, default: str) -> str:
        """Its new name, if it has one."""
        return self._new.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._new

    def items(self) -> Iterable[tuple[str, str]]:
        """Old and new names."""
        return self._new.items()

    @property
    def changed(self) -> dict[str, str]:
        """New names by old ones, where they differ."""
        return {old: new for old, new in self._new.items() if old != new}

    @property
    def new(self) -> Iterable[str]:
        """All new names."""
        return self._new.values()

    def expression(self, text: str) -> str:
        """An expression of BSMArt's, which it gives to ``eval`` with ``math`` and the names of the point, as ours.

        Raises:
            ExpressionError: What has no counterpart.

        Example:
            >>> Names(["m0", "mqm2-ms2"]).expression("math.sqrt(VARIABLE[0]) + VARIABLE[1]**2")
            'sqrt(m0) + mqm2_ms2 ** 2'
        """
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"an expression of {len(text)} characters; {MAX_LENGTH} are allowed")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            new = ast.unparse(_Translator(self).visit(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(f"{text[:60]!r} is not an expression: {error}") from None
        Expression(new)
        return new


class _Translator(ast.NodeTransformer):
    """BSMArt's words to ours; what it does not know stays, and is refused by `Expression`."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return _name(self._names[node.id]) if node.id in self._names else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id.upper() == "VARIABLE":
            index = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(self._names.variables):
                return _name(self._names.variables[index])
            raise ExpressionError(f"{ast.unparse(node)}: there are {len(self._names.variables)} variables, from 0")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id in _MODULES:
            word = _FUNCTIONS.get(node.attr, node.attr)
            if word in FUNCTIONS or word in CONSTANTS:
                return _name(word)
        raise ExpressionError(f"{ast.unparse(node)} has no counterpart")

    def visit_Call(self, node: ast.Call) -> ast.expr:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        arguments: list[ast.expr] = [self.visit(a) for a in node.args]
        if called == "float" and len(arguments) == 1:
            return arguments[0]
        if called == "int" and len(arguments) == 1:
            whole = _call("floor", _call("abs", arguments[0]))
            return ast.BinOp(_call("sign", arguments[0]), ast.Mult(), whole)
        function = node.func if isinstance(node.func, ast.Name) else self.visit(node.func)
        if isinstance(function, ast.Name) and function.id == "log" and len(arguments) == 2:
            return ast.BinOp(_call("log", arguments[0]), ast.Div(), _call("log", arguments[1]))
        return ast.Call(function, arguments, node.keywords)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.BitAnd | ast.BitOr):  # of truths
            joined = ast.And() if isinstance(node.op, ast.BitAnd) else ast.Or()
            return ast.BoolOp(joined, [self.visit(node.left), self.visit(node.right)])
        return ast.BinOp(self.visit(node.left), node.op, self.visit(node.right))


def _name(word: str) -> ast.Name:
    return ast.Name(word, ast.Load())


def _call(function: str, argument: ast.expr) -> ast.Call:
    return ast.Call(_name(function), [argument], [])
