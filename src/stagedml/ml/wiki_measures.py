"""What a wiki's template {{convert}} says of a measure: what its author gave, not what is computed from it.

The template takes codes: `{{convert|5|to|8|e3oilbbl/d}}`. A code that this module does not know is no text, so nothing
is said then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[-−+]?[\d.,]*\d(?:[eE][-−+]?\d+)?(?:(?:[+ -]?\d+)?//?\d+)?|[-−+]?\d*[¼½¾⅓⅔⅛]")

_BETWEEN = {
    **dict.fromkeys(("-", "–", "to(-)", "to about"), "–"),
    **dict.fromkeys(("x", "×", "*", "xx"), " × "),
    **dict.fromkeys(("+/-", "±"), " ± "),
    **dict.fromkeys(("and", "and(-)", "&", ","), " and "),
    **{word: f" {word} " for word in ("to", "by", "or", "and/or")},
}
"""What stands between two numbers, by how the template is told."""

_PARTS = {
    ("ft", "in"),
    ("yd", "ft"),
    ("yd", "in"),
    ("mi", "yd"),
    ("mi", "ft"),
    ("mi", "ch"),
    ("lb", "oz"),
    ("st", "lb"),
}
"""Units that follow each other in one measure, as in 5 ft 8 in."""

_SYMBOLS = frozenset(
    """
    fm pm nm μm µm mm cm dm m km Mm Gm in ft yd ch mi nmi ly pc kpc Mpc AU
    mm2 cm2 dm2 m2 km2 in2 ft2 yd2 mi2 ha mm3 cm3 dm3 m3 km3 in3 ft3 yd3 mi3 ml mL cl cL dl dL l L hl hL kl
    kL Ml ML Gl GL µg μg mg g kg t kt Mt Gt oz lb st ms s min h d K °C °F mph kn N kN MN J kJ MJ GJ kWh MWh GWh TWh
    cal kcal W kW MW GW hp bhp shp Pa hPa kPa MPa GPa bar mbar atm psi Torr mmHg inHg V kV A mA Hz kHz MHz GHz
    """.split()  # noqa: SIM905
)
"""Codes that are what readers know."""

_WORDS = {
    **{"C": "°C", "F": "°F", "°C-change": "°C", "°F-change": "°F", "C-change": "°C", "F-change": "°F", "angstrom": "Å"},
    **{"sqin": "square inches", "sqft": "square feet", "sqyd": "square yards", "sqmi": "square miles", "sqkm": "km2"},
    **{"cuin": "cubic inches", "cuft": "cubic feet", "cuyd": "cubic yards", "cumi": "cubic miles", "cc": "cm3"},
    **{"foot": "feet", "inch": "inches", "yard": "yards", "mile": "miles", "smi": "miles", "pound": "pounds"},
    **{
        "LT": "long tons",
        "ST": "short tons",
        "tonne": "tonnes",
        "MT": "tonnes",
        "carat": "carats",
        "fathom": "fathoms",
    },
    **{"USgal": "US gallons", "impgal": "imperial gallons", "gal": "gallons", "bbl": "barrels", "oilbbl": "barrels"},
    **{
        "PD": "people",
        "lbf": "pounds-force",
        "PS": "PS",
        "hectare": "hectares",
        "acre": "acres",
        "furlong": "furlongs",
        "chain": "chains",
    },
}
_MULTIPLES = {
    **{"e2": "hundred", "e3": "thousand", "e6": "million", "e9": "billion", "e12": "trillion"},
    **{"k": "thousand", "M": "million", "G": "billion", "T": "trillion"},
}
_UNITS = {**{unit: unit for unit in _SYMBOLS}, **_WORDS}
_SINGULAR = {"d": "day", "h": "hour", "min": "minute", "s": "second", "square miles": "square mile", "acres": "acre"}
_SUPERSCRIPT = str.maketrans("23", "²³")


def measure(given: Sequence[str]) -> str | None:
    """The words of {{convert}}.

    Args:
        given: what stands between its bars, without what has a name.

    Returns:
        Such as "5–8 km" or "5 ft 8 in"; None where the measure cannot be told from codes.
    """
    amount, rest = "", [word.strip() for word in given]
    while rest and _NUMBER.fullmatch(rest[0]):
        amount += _number(rest.pop(0))
        if len(rest) < 2 or rest[0] not in _BETWEEN:
            break
        amount += _BETWEEN[rest.pop(0)]
    else:
        return None
    unit = _unit(rest[0]) if rest else None
    if unit is None:
        return None
    if len(rest) > 2 and (rest[0], rest[2]) in _PARTS and _NUMBER.fullmatch(rest[1]):
        return f"{amount} {unit} {_number(rest[1])} {rest[2]}"
    return f"{amount} {unit}"


def _number(given: str) -> str:
    whole, plus, part = given.replace("//", "/").partition("+")
    return f"{whole} {part}" if plus and whole else given.replace("//", "/")


def _unit(code: str) -> str | None:
    spelled = []
    for part in code.split("/"):
        unit = _simple(part)
        if unit is None:
            return None
        spelled.append(unit)
    if all(part in _SYMBOLS for part in code.split("/")):
        return "/".join(spelled).translate(_SUPERSCRIPT)
    return " per ".join((spelled[0], *(_SINGULAR.get(unit, unit) for unit in spelled[1:]))).translate(_SUPERSCRIPT)


def _simple(code: str) -> str | None:
    if code in _UNITS:
        return _UNITS[code]
    for multiple, word in _MULTIPLES.items():
        units = _UNITS if multiple.startswith("e") else _WORDS  # km is a symbol of its own, kbbl is none
        if code.startswith(multiple) and (unit := units.get(code.removeprefix(multiple))) is not None:
            return f"{word} {unit}"
    return None
