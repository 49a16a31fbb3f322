"""A kind from a word and settings, and the error for everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from raydnnr.errors import ConfigError
from raydnnr.kinds import build, choose
from raydnnr.likelihoods import KINDS, Gauss


@dataclass(frozen=True, kw_only=True)
class Everything:
    """One field of each type that kinds have."""

    number: float
    whole: int = 1
    switch: bool = False
    text: str = ""
    path: Path | None = None
    maybe: float | None = None
    either: str | int = 0
    numbers: tuple[float, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    table: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ConfigError("number must be >= 0")


WHERE = "[some.table]"


def test_toml_values_become_what_the_annotations_say():
    made = build(Everything, {"number": 1, "path": "a/b", "maybe": 2, "either": "x", "numbers": [1, 2.5],
                              "pair": [3, 4], "table": {"a": "b"}}, WHERE)
    assert made == Everything(number=1.0, path=Path("a/b"), maybe=2.0, either="x", numbers=(1.0, 2.5), pair=(3.0, 4.0),
                              table={"a": "b"})
    assert type(made.number) is type(made.maybe) is type(made.numbers[0]) is float


def test_numbers_of_numpy_become_those_of_python():
    made = build(Everything, {"number": np.float32(0.5), "whole": np.int64(3), "switch": np.bool_(True),
                              "numbers": list(np.array([1, 2])), "maybe": np.int8(4)}, WHERE)
    assert [type(v) for v in (made.number, made.whole, made.switch, made.numbers[0], made.maybe)] == [
        float, int, bool, float, float]
    with pytest.raises(ConfigError, match="whole: got 1.5, wants a whole number"):
        build(Everything, {"number": 1, "whole": np.float64(1.5)}, WHERE)


@pytest.mark.parametrize(("settings", "words"), [
    ({}, "[some.table]: 'number' is missing; it accepts number, whole, switch, text"),
    ({"number": 1, "nmuber": 2}, "[some.table]: no setting 'nmuber'; it accepts number, whole"),
    ({"number": 1, "nmuber": 2}, "Did you mean 'number'?"),
    ({"number": "1"}, "[some.table]: number: got '1', wants a number"),
    ({"number": True}, "number: got True, wants a number"),
    ({"number": 10**400}, "number: got a whole number beyond 1.8e308"),
    ({"number": 1, "numbers": [-10**400]}, "numbers[0]: got a whole number beyond 1.8e308"),
    ({"number": 1, "whole": 1.0}, "whole: got 1.0, wants a whole number"),
    ({"number": 1, "whole": True}, "whole: got True, wants a whole number"),
    ({"number": 1, "switch": 1}, "switch: got 1, wants true or false"),
    ({"number": 1, "switch": "true"}, "switch: got 'true', wants true or false"),
    ({"number": 1, "text": 1}, "text: got 1, wants a text"),
    ({"number": 1, "path": 1}, "path: got 1, wants a path"),
    ({"number": 1, "maybe": "x"}, "maybe: got 'x', wants a number"),
    ({"number": 1, "either": 1.5}, "either: got 1.5, wants a text or a whole number"),
    ({"number": 1, "numbers": 1}, "numbers: got 1, wants a list of a number"),
    ({"number": 1, "numbers": [1, "x"]}, "numbers[1]: got 'x', wants a number"),
    ({"number": 1, "pair": [1]}, "pair: got 1 values, wants 2"),
    ({"number": 1, "table": []}, "table: got [], wants a table"),
    ({"number": -1}, "[some.table]: number must be >= 0"),
])
def test_what_is_wrong_is_said(settings, words):
    with pytest.raises(ConfigError) as caught:
        build(Everything, settings, WHERE)
    assert words in str(caught.value)
    assert str(caught.value).startswith(WHERE)


def test_a_kind_may_come_from_a_package_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "mylab_limits.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Xenon:\n    mass: float = 1.0\n\n"
        "class Plain:\n    pass\n\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert build(choose("mylab_limits:Xenon", KINDS, WHERE), {"mass": 2}, WHERE).mass == 2.0
    for word, words in (("mylab_limits:Xeon", "cannot be imported"), ("mylab_limit:Xenon", "cannot be imported"),
                        ("mylab_limits:Plain", "is not a dataclass"), ("mylab_limits:number", "is not a dataclass"),
                        ("mylab_limits:", "cannot be imported"), (":Xenon", "cannot be imported")):
        with pytest.raises(ConfigError, match=words):
            choose(word, KINDS, WHERE)


def test_a_module_that_cannot_be_imported_for_any_reason_is_a_configuration_error(tmp_path, monkeypatch):
    (tmp_path / "mylab_broken.py").write_text("def f(:\n")
    (tmp_path / "mylab_dividing.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("mylab_broken", "mylab_dividing"):
        with pytest.raises(ConfigError, match=f"'{module}:Xenon' cannot be imported"):
            choose(f"{module}:Xenon", KINDS, WHERE)


@pytest.mark.parametrize("word", ["gaus", "", 3, None, ["gauss"], {"kind": "gauss"}])
def test_an_unknown_word_is_answered_with_the_known_ones(word):
    with pytest.raises(ConfigError) as caught:
        choose(word, KINDS, WHERE)
    assert f"unknown kind {word!r}; choose one of gauss, upper, lower" in str(caught.value)
    assert "'package.module:Class'" in str(caught.value)


def test_a_known_word_is_its_class():
    assert choose("gauss", KINDS, WHERE) is Gauss
