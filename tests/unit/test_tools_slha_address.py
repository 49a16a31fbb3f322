"""The ``from`` table of an observable of an SLHA tool."""

from __future__ import annotations

import pytest

from raydnnr.errors import ConfigError, SlhaError
from raydnnr.slha import Slha
from raydnnr.tools.slha_address import SlhaBranching, SlhaEntry, SlhaWidth, parse_address

SPECTRUM = Slha.parse(
    "Block MASS\n 25 125.1\nBlock GAUGE Q= 100\n 1 0.4\nBlock GAUGE Q= 1000\n 1 0.5\nBlock ALPHA\n -0.1\n"
    "Block NMIX\n 1 2 0.7\nDECAY 25 4.1D-03\n 0.58 2 5 -5\n"
)


@pytest.mark.parametrize(
    ("settings", "source", "value"),
    [
        ({"block": "mass", "key": [25]}, SlhaEntry("t", "MASS", (25,)), 125.1),
        ({"tool": "t", "block": "MASS", "key": 25}, SlhaEntry("t", "MASS", (25,)), 125.1),
        ({"block": "NMIX", "key": [1, 2]}, SlhaEntry("t", "NMIX", (1, 2)), 0.7),
        ({"block": "ALPHA"}, SlhaEntry("t", "ALPHA", ()), -0.1),
        ({"block": "GAUGE", "key": [1], "q": 1000}, SlhaEntry("t", "GAUGE", (1,), 1000.0), 0.5),
        ({"width": 25}, SlhaWidth("t", 25), 4.1e-3),
        ({"br": [25, -5, 5]}, SlhaBranching("t", (25, -5, 5)), 0.58),
    ],
)
def test_addresses_find_their_numbers(settings, source, value):
    found = parse_address(settings, "t", "observables.o.from")
    assert found == source
    assert found.value(SPECTRUM) == value


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"blok": "MASS", "key": [25]}, "no setting 'blok'.*Did you mean 'block'"),
        ({"key": [25]}, "give block"),
        ({}, "give block"),
        ({"block": "MASS", "key": [25], "width": 25}, "give block"),
        ({"block": 3, "key": [25]}, "give block"),
        ({"block": "MASS", "key": ["25"]}, "whole numbers"),
        ({"block": "MASS", "key": [True]}, "whole numbers"),
        ({"block": "MASS", "key": [25], "q": "M_Z"}, "a scale in GeV"),
        ({"block": "MASS", "key": [25], "q": -1}, "a scale in GeV"),
        ({"width": [25, 6]}, "got 2 numbers; use 1"),
        ({"br": [25]}, "got 1 numbers; use 3 or more"),
    ],
)
def test_what_is_no_address_is_refused(settings, complaint):
    with pytest.raises(ConfigError, match=f"observables.o.from.*{complaint}"):
        parse_address(settings, "t", "observables.o.from")


def test_what_is_not_there_is_an_slha_error():
    with pytest.raises(SlhaError, match="MASS has no entry"):
        SlhaEntry("t", "MASS", (35,)).value(SPECTRUM)
