"""What {{convert}} says."""

from __future__ import annotations

import pytest

from stagedml.ml.wiki_measures import measure


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("10|km|mi", "10 km"),
        ("10|km|mi|0", "10 km"),
        ("1,072.5|sqmi|km2|-1", "1,072.5 square miles"),
        ("25|-|30|m|fathom|ft", "25–30 m"),
        ("2|and(-)|3|kg", "2 and 3 kg"),
        ("2|by|3|x|4|in|cm", "2 by 3 × 4 in"),
        ("5|+/-|0.1|mm", "5 ± 0.1 mm"),
        ("-5|to|8|C|F", "-5 to 8 °C"),
        ("5|ft|8|in|cm|0", "5 ft 8 in"),
        ("5|ft|8|m", "5 ft"),
        ("3|ft/s|m/s", "3 ft/s"),
        ("95|PD/sqmi", "95 people per square mile"),
        ("7|e6acre|e6ha", "7 million acres"),
        ("4.5|Moilbbl/d|m3/d", "4.5 million barrels per day"),
        ("9|kN", "9 kN"),
        ("1//2|mi", "1/2 mi"),
        (" 8 | km ", "8 km"),
    ],
)
def test_the_measure_is_what_its_author_gave(given: str, words: str) -> None:
    assert measure(given.split("|")) == words


@pytest.mark.parametrize(
    "given", ["", "10", "km", "10|", "ten|km", "5|to|km", "5|to", "5|xyz", "5|km/xyz", "5|e7xyz", "5|kkm"]
)
def test_what_is_not_known_is_not_guessed(given: str) -> None:
    assert measure(given.split("|")) is None
    assert measure([]) is None
