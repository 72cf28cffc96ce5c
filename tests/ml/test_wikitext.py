"""Prose of wikitext: what readers read, nothing of how it is written."""

from __future__ import annotations

import pytest

from stagedml.ml.sentences import is_whole, sentences_of
from stagedml.ml.wikitext import GAP, prose_of


def text_of(wikitext: str) -> str:
    return "\n".join(prose_of(wikitext, {"bestand"}).paragraphs)


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''slanted'' and '''''both'''''.", "Bold and slanted and both."),
        ("A [[cat]], [[dog|dogs]] and [[the end#Middle|its middle]]s.", "A cat, dogs and its middles."),
        ("See [http://example.org the site] or [http://example.org] or http://example.org/a.", "See the site or or."),
        ("One.<ref>Two.</ref> Three.<ref name=a /> Four.<!-- Five. -->", "One. Three. Four."),
        ("A{{citation needed|date=May {{CURRENTYEAR}}}} claim.", "A claim."),
        ("It is {{convert|10|km|mi}} long, {{circa|1900}}.", "It is 10 km long, c. 1900."),
        (
            "{{convert|25|-|30|km}}, {{convert|5|ft|8|in|cm}}, {{cvt|3|by|4|m2}} big.",
            "25–30 km, 5 ft 8 in, 3 by 4 m² big.",
        ),
        (
            "{{convert|166|Goilbbl|lk=on}} at {{convert|1+1/2|e3oilbbl/d|2}}.",
            "166 billion barrels at 1 1/2 thousand barrels per day.",
        ),
        (
            "{{val|5|u=km}}{{nbsp}}on {{HMS|Beagle|6}}, {{frac|2|1|2}} {{lang|1=fr|2=eau}}.",
            "5 km on HMS Beagle, 2 1/2 eau.",
        ),
        ("B{{music|flat}} {{lang-sq|bir}}{{mdashb}}Eagle{{'s}} ({{Coord|1|2}}; {{IPAc-en|a}}).", "B♭ bir—Eagle's."),
        (
            "{{As of|2012}}, so {{lang|fr|déjà vu}} {{nowrap|3 m}} {{formatnum:1000}}.",
            "As of 2012, so déjà vu 3 m 1000.",
        ),
        (
            "Rome ({{lang-la|Roma}}; {{IPA|x}}) and Rome ({{IPA|y}}) and (; born) so.",
            "Rome (Roma) and Rome and (born) so.",
        ),
        ("5&nbsp;km &ndash; &amp;amp; far.", "5 km – & far."),
        ("One line\ngoes on.\n\nAnother.", "One line goes on.\nAnother."),
        ("Before.\n* an item\n# another\n; term\n: said\nAfter.", "Before.\nAfter."),
        ("== Heading ==\nText.\n=== Other ===\nMore.", "Text.\nMore."),
        ("Text.\n{| class=x\n! a\n|-\n| b || {{c|d}}\n|}\nMore.", "Text.\nMore."),
        ("[[File:a.jpg|thumb|A [[cat]].]] Text. [[Category:Cats]] [[Bestand:b.png]] [[fr:Chat]]", "Text."),
        ("[[:Category:Cats]] and [[ISO 9000: facts]].", "Category:Cats and ISO 9000: facts."),
        ("Text.<gallery>\na.jpg|A cat.\n</gallery><timeline>x</timeline>\n__NOTOC__", "Text."),
        ("<div class='x'>Inside.</div> x<sub>2</sub> <nowiki>[literal]</nowiki><br/>so.", "Inside.\nx2 [literal] so."),
        ("{{Infobox\n| a = {{b|c}}\n| d = e\n}}\n'''A''' is a letter.", "A is a letter."),
        ("Soft\u00adware\u200b is.", "Software is."),
    ],
)
def test_markup_is_rendered_or_left_out(wikitext: str, text: str) -> None:
    assert text_of(wikitext) == text


@pytest.mark.parametrize("template", ["{{convert|5|wotsit}}", "{{convert|a|km}}", "{{IPA|a}}", "{{Coord|1|N}}"])
def test_what_only_the_wiki_can_say_leaves_a_gap(template: str) -> None:
    assert text_of(f"It is at {template}, they say.") == f"It is at {GAP}, they say."


def test_a_formula_leaves_a_gap() -> None:
    assert text_of("Let <math>x^2</math> be. Water is {{chem|H|2|O}}.") == f"Let {GAP} be. Water is H2O."


@pytest.mark.parametrize(
    "wikitext",
    ["Open {{template|a.", "Open [[link.", "A <ref>note. Never closed.", "{| class=x\n| a", "&lt;ref&gt;x.", "a || b"],
)
def test_what_is_not_closed_is_left_out_and_counted(wikitext: str) -> None:
    prose = prose_of(f"Before.\n\n{wikitext}\n\n")
    assert prose.paragraphs == ("Before.",)
    assert prose.dropped == 1


def test_characters_that_mark_gaps_cannot_be_smuggled_in() -> None:
    assert text_of("a\ue000b\ue001c\ue002d\ue003e.") == "abcde."


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["Dr. Smith (b. 1879) went to Washington, D.C. on Jan. 5.", "He stayed.", "Why?", "See Fig. 3."]),
        (
            "ru",
            ["А. С. Пушкин родился в 1799 г. в Москве.", "Население — 5 млн. чел. по данным на 2010 год.", "Почему?"],
        ),
    ],
)
def test_sentences_end_where_they_should(language: str, sentences: list[str]) -> None:
    assert sentences_of(" ".join(sentences), language) == sentences


def test_fragments_are_no_whole_sentences() -> None:
    assert all(map(is_whole, ["It ends.", 'He said "so."', "Да!", "(See above.)", "终。"]))
    assert not any(map(is_whole, ["They are:", "A caption", "...", "1.", ")."]))
