"""SLHA: what is written is read, what codes write is read right, and nothing is ever read wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import SlhaError
from raydnnr.slha import Block, Decay, Slha, format_value, number
from tests.unit.strategies import finite

SPECTRUM = """\
# a spectrum as codes write it
BLOCK SPINFO\r
     1   SPheno\t# generator
     2   4.0.5
     3   the Higgs mass is uncertain
     3   and so is the top quark's
Block MODSEL  # model
    1    1
block Mass   # pole masses
        25     1.25090000E+02  # h0
        35    -0.40D+03
   1000022     9.72557114E+01
Block NMIX
  1  1   9.86364430E-01
  1  2  -5.31103553E-02
BLOCK alpha   # one number
      -1.13825210E-01
Block HMIX Q=  4.67034192E+02
  1  3.57E+02
Block HMIX Q= 1.0E+03
  1  3.44E+02
Block YU Q=9.1E+01
  3  3  0.148232-104
DECAY        25     4.1E-03
     5.80E-01    2           5        -5
     2.10E-01    2          24       -24
     6.00E-02    3          11   -11   22
DECAY   1000022     0.0
XSECTION  13000  2212  2212  2  1000021 1000021
  0  2  1  1  1  1  1.2E-03
"""

words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
names = words.filter(lambda w: not w.upper().startswith(("BLOCK", "DECAY", "XSECTION")))
fields = st.one_of(finite.map(format_value), st.integers(-10**7, 10**7).map(str), names)
lines = st.lists(fields, min_size=1, max_size=5)


@st.composite
def spectra(draw):
    blocks = [Block(draw(names).upper(), draw(st.none() | st.floats(0.1, 1e19)), draw(st.lists(lines, max_size=5)))
              for _ in range(draw(st.integers(0, 4)))]
    decays = [Decay(draw(st.integers(-10**7, 10**7)), format_value(draw(st.floats(0, 1e3))),
                    draw(st.lists(lines, max_size=4))) for _ in range(draw(st.integers(0, 3)))]
    return Slha(blocks, decays)


@given(spectra().filter(lambda s: s.blocks or s.decays))
def test_what_is_dumped_is_parsed(spectrum):
    assert Slha.parse(spectrum.dump()) == spectrum
    assert Slha.parse(spectrum.dump().encode()) == spectrum


@given(finite)
def test_numbers_keep_every_digit(value):
    assert number(format_value(value)) == value
    assert number(format_value(value).replace("E", "D")) == value
    assert number(format_value(value).lower().replace("e", "d")) == value


@given(st.integers(-9, 9), st.integers(100, 307), st.sampled_from("+-"))
def test_fortran_drops_the_letter_of_a_long_exponent(mantissa, exponent, sign):
    assert number(f"{mantissa}.5{sign}{exponent}") == float(f"{mantissa}.5E{sign}{exponent}")


@pytest.mark.parametrize(("word", "value"), [
    ("1.0D+03", 1000.0), ("-.5d-1", -0.05), ("5.", 5.0), (".5", 0.5), ("+3", 3.0), ("0.148232-104", 1.48232e-105),
    ("1E2", 100.0), ("-.1+102", -1e101), ("1.-103", 1e-103), ("NaN", math.nan), ("nan", math.nan), ("-NaN", math.nan), ("NaN(0x8)", math.nan),
    ("****", math.nan), ("*", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf), ("+Inf", math.inf),
    ("1.#INF", math.inf), ("-1.#IND", math.nan), ("1.#QNAN", math.nan), ("1e999", math.inf),
])
def test_numbers_as_codes_write_them(word, value):
    np.testing.assert_equal(number(word), value)


@pytest.mark.parametrize("word", ["", "1.2.3", "1_000", "0x10", "one", "1,5", "1E", "E5", "--1", "1.0E+", "1.0D", "+",
                                  "-", ".", "1 2", "true", "1.2-", "1.2e5.", "\u0661", "\u221e", "1.0F3", "in", "na",
                                  "2-5", "1+2", "1.5-5", "1.5-1234", "2-105", ".-105", "."])
def test_what_is_no_number_is_an_error_that_says_where(word):
    with pytest.raises(SlhaError, match="^block MASS entry 25: .* is not a number"):
        number(word, "block MASS entry 25")


@given(st.text(max_size=12))
def test_no_text_is_a_number_by_accident(text):
    try:
        value = number(text)
    except SlhaError:
        return
    assert isinstance(value, float)
    assert text.isascii()


@pytest.fixture
def spectrum():
    return Slha.parse(SPECTRUM)


def test_entries(spectrum):
    assert spectrum.get("MASS", [25]) == 125.09
    assert spectrum.get("mass", (35,)) == -400.0
    assert spectrum.get("NMIX", [1, 2]) == -5.31103553e-2
    assert spectrum.get("ALPHA", []) == -1.13825210e-1
    assert spectrum.get("YU", [3, 3]) == 1.48232e-105
    assert spectrum.text("SPINFO", [1]) == "SPheno"
    assert spectrum.text("SPINFO", [3]) == "the Higgs mass is uncertain"


def test_the_first_of_several_scales_is_meant_unless_one_is_asked_for(spectrum):
    assert spectrum.get("HMIX", [1]) == 357.0
    assert spectrum.get("HMIX", [1], q=1000.0) == 344.0
    assert spectrum.get("HMIX", [1], q=1000.5) == 344.0
    assert spectrum.get("YU", [3, 3], q=91.0) == 1.48232e-105
    with pytest.raises(SlhaError, match="HMIX is not there at Q = 500 GeV"):
        spectrum.get("HMIX", [1], q=500.0)
    with pytest.raises(SlhaError, match="MASS is not there at Q"):
        spectrum.get("MASS", [25], q=1000.0)


def test_decays(spectrum):
    assert spectrum.width(25) == 4.1e-3
    assert spectrum.width(1000022) == 0.0
    assert spectrum.branching_ratio(25, [5, -5]) == spectrum.branching_ratio(25, (-5, 5)) == 0.58
    assert spectrum.branching_ratio(25, [22, 11, -11]) == 0.06
    assert spectrum.branching_ratio(25, [5, 5]) == 0.0
    assert spectrum.branching_ratio(1000022, [1, 2]) == 0.0
    for ask in (lambda: spectrum.width(36), lambda: spectrum.branching_ratio(36, [1, 2])):
        with pytest.raises(SlhaError, match="no DECAY of 36"):
            ask()


def test_spinfo(spectrum):
    assert spectrum.spinfo() == (["the Higgs mass is uncertain", "and so is the top quark's"], [])
    bad = Slha.parse("BLOCK SPINFO\n 4 tachyon in stau\n 4 no convergence\n")
    assert bad.spinfo() == ([], ["tachyon in stau", "no convergence"])
    assert Slha.parse("BLOCK MASS\n 25 1\n").spinfo() == ([], [])


def test_cross_sections_do_not_run_into_the_decay_before_them(spectrum):
    assert len(spectrum.decays[-1].lines) == 0
    assert spectrum.blocks[-1].name == "XSECTION"


def test_one_loop_decays_do_not_run_into_what_stands_before_them():
    """SARAH's SPheno writes DECAY1L tables after the tree-level ones."""
    one_loop = "DECAY1L 36 2.0\n 1 2.0\n 2.5E-01 2 15 -15\nDECAY1L 37 3.0\n"
    spectrum = Slha.parse("Block MASS\n 25 125.0\nDECAY 35 1.0\n 5.0E-01 2 5 -5\n" + one_loop)
    assert spectrum.branching_ratio(35, [5, -5]) == 0.5
    assert spectrum.branching_ratio(35, [15, -15]) == 0.0
    assert (spectrum.get("DECAY1L", [36]), spectrum.get("decay1l", [37])) == (2.0, 3.0)
    assert Slha.parse(spectrum.dump()) == spectrum
    with pytest.raises(SlhaError, match="no entry"):
        Slha.parse("Block A\n" + one_loop).get("A", [1])


@pytest.mark.parametrize(("block", "key", "words"), [
    ("MAS", [25], "no block MAS; there are .*Did you mean 'MASS'"), ("MASS", [26], r"MASS has no entry \[26\]"),
    ("NMIX", [1], "not one number"), ("NMIX", [1, 3], r"no entry \[1, 3\]"),
    ("SPINFO", [1], "'SPheno' is not a number"),
    ("ALPHA", [1], "no entry"), ("SPINFO", [3], "not one number"),
])
def test_what_is_not_there_is_an_error_that_names_it(spectrum, block, key, words):
    with pytest.raises(SlhaError, match=words):
        spectrum.get(block, key)


@pytest.mark.parametrize(("text", "words"), [
    ("", "no block and no decay in 0 characters"), ("\n\n# nothing\n", "no block and no decay"),
    ("Segmentation fault\n", "stands before the first block"), ("  25 125.0\nBlock MASS\n", "before the first block"),
    ("Block\n", "without a name"), ("DECAY 25\n", "a DECAY line is"), ("DECAY h 1.0\n", "a DECAY line is"),
    ("Block MASS Q= abc\n", "scale of block MASS"),
    ("<html>\n", "before the first block"),
])
def test_what_is_not_slha_is_an_error(text, words):
    with pytest.raises(SlhaError, match=words):
        Slha.parse(text)


def test_a_last_line_without_its_end_is_there_only_if_a_comment_closes_it():
    """A Python script may write no last line end; a killed code may stop within a number."""
    assert Slha.parse("Block MASS\n 25 125.0\n 35 400.0").get("MASS", [25]) == 125.0
    assert Slha.parse("Block MASS\n 25 125.0  # h").get("MASS", [25]) == 125.0
    with pytest.raises(SlhaError, match=r"no entry \[35\]; the file ends in the middle of a line: '35 400.0'"):
        Slha.parse("Block MASS\n 25 125.0\n 35 400.0").get("MASS", [35])
    with pytest.raises(SlhaError, match="no DECAY of 25; the file ends in the middle"):
        Slha.parse("Block MASS\n 25 125.0\nDECAY 25 4.1E-0").width(25)


def test_a_channel_that_is_missing_where_the_file_ends_is_not_absent():
    text = "DECAY 25 4E-3\n 0.5 2 5 -5\nDECAY 36 1.0\n 0.6 2 5 -5\n 0.4 2 6 -6\n"
    whole = Slha.parse(text)
    assert whole.branching_ratio(36, [15, -15]) == whole.branching_ratio(25, [15, -15]) == 0.0
    cut = Slha.parse(text[: text.index(" 0.4")])
    assert cut.branching_ratio(36, [5, -5]) == 0.6
    with pytest.raises(SlhaError, match=r"channels add up to 0.6: it may have been cut"):
        cut.branching_ratio(36, [6, -6])
    with pytest.raises(SlhaError, match="add up to 0: "):
        Slha.parse("DECAY 36 1.0\n").branching_ratio(36, [6, -6])
    assert Slha.parse("DECAY 36 0.0\n").branching_ratio(36, [6, -6]) == 0.0


def test_a_channel_with_another_number_of_daughters_than_it_says_is_an_error():
    with pytest.raises(SlhaError, match=r"DECAY 25: '0.5 3 5 -5' says 3 daughters and has 2"):
        Slha.parse("DECAY 25 1.0\n 0.5 3 5 -5\n").branching_ratio(25, [5, -5])


def test_what_is_there_twice_with_different_numbers_is_an_error():
    same, other = "Block A\n 1 2.0\nBlock a\n 1 2.0D0\n", "Block A\n 1 2.0\nBlock a\n 1 3.0\n"
    assert Slha.parse(same).get("A", [1]) == 2.0
    with pytest.raises(SlhaError, match=r"block A entry \[1\] is there twice: 2.0 and 3.0"):
        Slha.parse(other).get("A", [1])
    with pytest.raises(SlhaError, match="twice"):
        Slha.parse("Block A Q= 1\n 1 2\n 1 3\nBlock A Q= 2\n 1 2\n").get("A", [1])
    assert Slha.parse("Block A Q= 1\n 1 2\nBlock A Q= 2\n 1 3\n").get("A", [1]) == 2.0
    decay = "DECAY 25 1.0\n 0.6 2 5 -5\n 0.4 2 {} 1\n {} 2 -5 5\n"
    assert Slha.parse(decay.format(-1, "0.60")).branching_ratio(25, [5, -5]) == 0.6
    assert Slha.parse(decay.format(-1, "0.1")).branching_ratio(25, [1, -1]) == 0.4
    with pytest.raises(SlhaError, match=r"DECAY 25 into \[-5, 5\] is there twice: 0.6 and 0.1"):
        Slha.parse(decay.format(-1, "0.1")).branching_ratio(25, [5, -5])
    tables = Slha.parse("DECAY 25 1.0\n 1.0 2 5 -5\nDECAY 35 1.0\nDECAY 25 2.0\n 1.00 2 -5 5\nBlock END\n")
    assert tables.branching_ratio(25, [5, -5]) == 1.0
    with pytest.raises(SlhaError, match="DECAY 25 is there twice: 1 and 2"):
        tables.width(25)
    with pytest.raises(SlhaError, match="twice: 1 and 0"):
        Slha.parse("DECAY 25 1\n 1.0 2 5 -5\nDECAY 25 1\nBlock END\n").branching_ratio(25, [5, -5])


ADDRESSES = [("MASS", (25,)), ("MASS", (35,)), ("MASS", (1000022,)), ("NMIX", (1, 1)), ("NMIX", (1, 2)), ("ALPHA", ()),
             ("HMIX", (1,)), ("YU", (3, 3))]
DECAYS = [(25, (5, -5)), (25, (24, -24)), (25, (3, 11, -11, 22)), (25, (11, -11, 22)), (1000022, (1, -1))]


def numbers(spectrum: Slha) -> dict[object, float | None]:
    """All that can be asked of a spectrum; None for what is refused."""
    asked = {a: (lambda a=a: spectrum.get(*a)) for a in ADDRESSES}
    asked |= {("HMIX", (1,), 1000.0): lambda: spectrum.get("HMIX", (1,), q=1000.0)}
    asked |= {d: (lambda d=d: spectrum.branching_ratio(*d)) for d in DECAYS}
    asked |= {pdg: (lambda pdg=pdg: spectrum.width(pdg)) for pdg in (25, 1000022)}
    answers: dict[object, float | None] = {}
    for what, ask in asked.items():
        try:
            answers[what] = ask()
        except SlhaError:
            answers[what] = None
    return answers


@pytest.mark.parametrize("text", [SPECTRUM, SPECTRUM.replace("2.10E-01", "3.60E-01")], ids=["as it is", "complete"])
def test_a_file_that_was_cut_anywhere_gives_no_wrong_number(text):
    text = text.partition("XSECTION")[0]
    whole = numbers(Slha.parse(text + "Block END\n"))
    told = 0
    for end in range(len(text)):
        try:
            cut = numbers(Slha.parse(text[:end]))
        except SlhaError:
            continue
        wrong = {what: value for what, value in cut.items() if value is not None and value != whole[what]}
        assert not wrong, (end, wrong)
        told += sum(value is not None for value in cut.values())
    assert told > 1000


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    _ask_everything(data)


@given(st.data())
def test_no_damage_to_a_spectrum_raises_anything_else(data):
    text = bytearray(SPECTRUM.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(text)))
        text[start:start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    _ask_everything(bytes(text))


def _ask_everything(data):
    try:
        spectrum = Slha.parse(data)
    except SlhaError:
        return
    for ask in (lambda: spectrum.get("MASS", [25]), lambda: spectrum.get("MASS", []), lambda: spectrum.width(25),
                lambda: spectrum.get("HMIX", [1], q=1000.0), lambda: spectrum.branching_ratio(25, [5, -5]),
                lambda: spectrum.text("SPINFO", [1])):
        try:
            assert isinstance(ask(), float | str)
        except SlhaError:
            pass
    spectrum.spinfo()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_that_was_cut_anywhere_never_gives_a_wrong_number(newline):
    whole = SPECTRUM.replace("\r", "").replace("\n", newline)
    asks = [lambda s: s.get("MASS", [25]), lambda s: s.get("MASS", [1000022]), lambda s: s.get("NMIX", [1, 2]),
            lambda s: s.get("ALPHA", []), lambda s: s.get("HMIX", [1]), lambda s: s.get("HMIX", [1], 1000.0),
            lambda s: s.get("YU", [3, 3]), lambda s: s.width(25), lambda s: s.width(1000022)]
    right = [ask(Slha.parse(whole)) for ask in asks]
    for end in range(len(whole)):
        try:
            spectrum = Slha.parse(whole[:end])
        except SlhaError:
            continue
        for ask, value in zip(asks, right, strict=True):
            try:
                assert ask(spectrum) == value
            except SlhaError:
                pass


def test_bytes_of_any_encoding_are_read():
    assert Slha.parse("Block MASS # H\xe4\n 25 125.0 # \xb5\n".encode("latin-1")).get("MASS", [25]) == 125.0
    assert Slha.parse("Block MASS # \u03bc\n 25 125.0\n".encode()).get("MASS", [25]) == 125.0


@pytest.mark.parametrize("byte", [b"\x85", b"\x0c", b"\x1c", b"\xe2\x80\xa8"])
def test_a_comment_ends_with_its_line_only(byte):
    """str.splitlines() knows more line ends than an editor does; a comment's rest must not become an entry."""
    spectrum = Slha.parse(b"Block MASS\n 35 400.0 # H" + byte + b" 25 1.0\n 25 125.0\n")
    assert spectrum.get("MASS", [25]) == 125.0


def test_a_number_of_thousands_of_digits_is_no_pdg_number():
    for text in (f"DECAY {'9' * 5000} 1.0\n", f"DECAY 25 1.0\n 0.5 2 5 {'9' * 5000}\n"):
        with pytest.raises(SlhaError):
            Slha.parse(text).branching_ratio(25, [5, 5])


def test_indices_may_be_written_with_zeros_or_a_sign():
    spectrum = Slha.parse("Block A\n 01 002 5.0\n +3 7.0\n -4 8.0\n 0 9.0\n")
    assert spectrum.get("A", [1, 2]) == 5.0
    assert spectrum.get("A", [3]) == 7.0
    assert spectrum.get("A", [-4]) == 8.0
    assert spectrum.get("A", [0]) == 9.0
    with pytest.raises(SlhaError):
        spectrum.get("A", [4])


def test_an_error_without_a_text_is_an_error() -> None:
    """SPheno writes entry 4 of SPINFO with nothing but a comment."""
    spectrum = Slha.parse("Block SPINFO\n 1 SPheno\n 4   # internal problem, see Messages.out\n")
    assert spectrum.spinfo() == ([], ["internal problem, see Messages.out"])
