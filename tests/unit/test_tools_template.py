"""Templates: which fields become values, which stay, and which are errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import ConfigError, InvalidPoint
from raydnnr.slha import Slha
from raydnnr.tools.template import compile_template, words

POINT = {"m0": 500.0, "m12": 1000.0, "tanb": 10.0, "sgnmu": -1.0, "model": 3.0}
NAMES = frozenset(POINT)


def fill(text: str, point: dict[str, float] = POINT) -> str:
    return compile_template(text, frozenset(point), "card.in").fill(point)


def test_a_card_keeps_everything_but_its_expressions():
    card = (
        "# a card of m0\n\nBlock MODSEL  # m0\n 1  1  # mSUGRA\n 3 model\nBLOCK minpar\n"
        "\t1\tm0   # m0\n 2  m0 + 0.5*m12 # a sum\n 3 tanb\n 4 sgnmu\n 5 -1.0D+02\n"
        "Block SPINFO\n 1 m0-scan\n 2 tanb\nDECAY 25 m0/1e5 # m0\n 0.5 2 5 -5\ndecay 24 2.1\n DECAY 35\n"
    )
    assert fill(card) == (
        "# a card of m0\n\nBlock MODSEL  # m0\n 1  1  # mSUGRA\n 3 3\nBLOCK minpar\n"
        "\t1\t5.0000000000000000E+02   # m0\n 2  1.0000000000000000E+03 # a sum\n 3 1.0000000000000000E+01\n"
        " 4 -1.0000000000000000E+00\n 5 -1.0D+02\n"
        "Block SPINFO\n 1 m0-scan\n 2 tanb\nDECAY 25 5.0000000000000001E-03 # m0\n 0.5 2 5 -5\n"
        "decay 24 2.1\n DECAY 35\n"
    )


def test_line_ends_and_foreign_bytes_survive():
    text = "Block A\r\n 1 m0 # \udce9t\udce9\r\n 2 'm0.dat'\r\n 3 x"
    assert fill(text) == "Block A\r\n 1 5.0000000000000000E+02 # \udce9t\udce9\r\n 2 'm0.dat'\r\n 3 x"


@pytest.mark.parametrize(
    "value", ["SPheno", "4.1.22", "SARAH", "path/to/m.dat", "'m0'", '"tanb*2"', "T", ".true.", "1 2 3", "NaN", "1e5",
              "0.148232-104", "2020-10-11", "1/2", "e", "pi", "ABCD", "model_file.dat"]
)
def test_texts_and_numbers_stay(value):
    card = f"Block A\n 1  {value}  # m0\n"
    assert fill(card) == card


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("tanbb", "'tanbb'.*Did you mean 'tanb'"),
        ("m0*mu", "'mu', which no parameter"),
        ("2*tanbb", "Did you mean 'tanb'"),
        ("sqrt(mu)", "'mu'"),
        ("sqr(m0)", "a call of 'sqr' is not allowed.*Did you mean 'sqrt'"),
        ("m0**", "is not an expression"),
        ("m0.real", "an attribute"),
        ("- m0", "without blanks"),
    ],
)
def test_a_field_that_was_meant_to_be_an_expression_is_an_error_with_its_line(value, complaint):
    with pytest.raises(ConfigError, match=f"(?s)card.in:3: .*{complaint}"):
        fill(f"Block A\n 1 m0\n 2  {value}\n")


def test_a_value_that_is_not_finite_is_an_invalid_point():
    with pytest.raises(InvalidPoint, match=r"sqrt\(m0-600\) is nan"):
        fill("Block A\n 1 sqrt(m0-600)\n")


def test_constants_may_stand_in_expressions():
    assert Slha.parse(fill("Block A\n 1 pi/4\n 2 2*e*tanb\n")).get("A", [1]) == math.pi / 4


def test_words_are_those_of_value_fields():
    assert words("# m0\nBlock tanb\n 1 m12*2 # sgnmu\nBlock SPINFO\n 1 model\n") == {"m12"}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-999, 999))
def test_every_float_comes_back_bit_by_bit(value, key):
    card = fill(f"Block MINPAR\n {key} x # value\n", {"x": value})
    assert Slha.parse(card).get("MINPAR", [key]) == value


@given(st.text(alphabet=st.characters(codec="utf-8")), st.sampled_from(["SPINFO", "dcinfo", "X # m0"]))
def test_comments_and_info_blocks_are_kept_whatever_they_say(text, block):
    line = text.replace("\n", " ") if "#" in block else " 1 " + "".join(text.splitlines())
    card = f"Block {block}\n{'#' if '#' in block else ''}{''.join(line.splitlines())}\n"
    assert fill(card) == card
