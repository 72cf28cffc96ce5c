"""A storyteller: plain text, a paraphrase task and questions, made up from small lists of words.

It gives the quickstart something to learn without fetching anything. An *event* is who did what to whom, to how many of
what, where and when; a *telling* is one sentence about an event. Rules this module keeps:

- Every word that carries meaning has one synonym, and tellings take either. They differ in more: voice, order of place
  and time, the side from which a trade is told (sold to, bought from), and whether a judgement is told plainly or by
  denying its opposite (doubted, did not trust).
- Two sentences are paraphrases if and only if they tell the same event. Two that are none differ a little: in who did
  it to whom, whose trait it is, or whether it is so; or a few words stand for others of their kind.
- Words alone do not tell: in which places two sentences differ is drawn before it is drawn whether they are
  paraphrases, and in the same way. Which words are synonyms can be learned from the plain text, where each event is
  told several times in a row.
- The same arguments give the same bytes on every version of Python: of `random`, only `random()` is used, the one
  method whose sequence is promised to stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

_T = TypeVar("_T")


def _pairs(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(entry.split()) for entry in text.split(","))


# A word and its synonym. No word stands twice, so that a word's meaning never depends on where it stands. The lists are
# short: a model must meet each word often, and is trained for a minute or two.
_PEOPLE = _pairs("""
    doctor physician, lawyer attorney, sailor mariner, farmer grower, thief robber, king monarch, merchant trader,
    cook chef
""")
_TRAITS = _pairs("""
    old elderly, young youthful, rich wealthy, smart clever, brave bold, tired weary, angry furious, famous renowned
""")
_THINGS = _pairs("""
    cars automobiles, rocks stones, boats vessels, coats jackets, gifts presents, jewels gems, lamps lanterns,
    rabbits hares
""")
_COUNTS = _pairs("two 2, three 3, four 4, five 5, six 6, seven 7, eight 8, nine 9")
_PLACES = _pairs("""
    harbor port, forest woods, street road, market bazaar, castle fortress, village hamlet, prison jail, shore coast
""")
_TIMES = _pairs("dawn sunrise, noon midday, dusk sunset, christmas yuletide")

# What people do to people, and to things; past, which is the participle, too.
_DEEDS = _pairs("praised lauded, scolded rebuked, helped aided, followed trailed")
_HANDLINGS = _pairs("smashed shattered, repaired fixed, carried hauled, seized grabbed")
# Judgements: to deny one is to tell its neighbour, 0 and 1, 2 and 3, and so on. Base forms; `_past` makes the rest.
_JUDGEMENTS_OF_PEOPLE = _pairs("trust believe, doubt suspect, obey heed, defy disobey")
_JUDGEMENTS_OF_THINGS = _pairs("accept approve, reject refuse, enjoy like, dislike loathe")
# Trades: the words of the one who gives, then those of the one who gets.
_TRADES = _pairs("""
    sold peddled bought purchased, donated granted received obtained, lost forfeited won gained,
    returned restored recovered regained
""")

# How often there is one to be told.
_TRAIT_SHARE = 0.3
_PLACE_SHARE = 0.25
_TIME_SHARE = 0.25

# How often two events that differ do so only in who did it to whom, whose trait it is, or whether it is so.
_EXCHANGE_SHARE = 0.25

# In how many places the words of a pair differ; and if it is no paraphrase, how many of those make it none.
_DIFFERING_SHARE = 0.65
_REPLACED_SHARE = 0.6

_WHO, _WHOM = ("who", "who_trait"), ("whom", "whom_trait")


@dataclass(frozen=True)
class _Plot:
    """A kind of event: its verbs, the slots that are always filled, and those that may be."""

    verbs: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...]
    judges: bool = False
    trades: bool = False

    @property
    def has_whom(self) -> bool:
        return "whom" in self.needs


_PLOTS = (
    _Plot(_DEEDS, ("who", "whom")),
    _Plot(_HANDLINGS, ("who", "count", "thing")),
    _Plot(_JUDGEMENTS_OF_PEOPLE, ("who", "whom"), judges=True),
    _Plot(_JUDGEMENTS_OF_THINGS, ("who", "count", "thing"), judges=True),
    _Plot(_TRADES, ("who", "whom", "count", "thing"), trades=True),
)

# The words of every slot but the verb's, whose words are the plot's.
_WORDS = {
    "who": _PEOPLE,
    "whom": _PEOPLE,
    "who_trait": _TRAITS,
    "whom_trait": _TRAITS,
    "count": _COUNTS,
    "thing": _THINGS,
    "place": _PLACES,
    "time": _TIMES,
}


@dataclass(frozen=True)
class Event:
    """What happened: for each slot that is filled, the number of a meaning in the slot's list of words."""

    plot: _Plot
    meanings: Mapping[str, int]

    def words(self, slot: str) -> tuple[tuple[str, ...], ...]:
        """The words that a slot of this event may be filled with."""
        return self.plot.verbs if slot == "verb" else _WORDS[slot]


@dataclass(frozen=True)
class Style:
    """How an event is told.

    Attributes:
        synonyms: for each slot, which of the two synonyms.
        passive: the one to whom it is done comes first.
        receiving: a trade is told from the side of the one who gets.
        denying: a judgement is told by denying its opposite.
        time_first: time is told before place, if both are.
        adjunct_first: place or time opens the sentence, if either is told.
    """

    synonyms: Mapping[str, int]
    passive: bool
    receiving: bool
    denying: bool
    time_first: bool
    adjunct_first: bool


# -- telling ---------------------------------------------------------------------------------------------------------


def tell(event: Event, style: Style) -> str:
    """One sentence about an event, words and punctuation set apart by spaces."""

    def word(slot: str) -> str:
        return event.words(slot)[event.meanings[slot]][style.synonyms[slot]]

    def person(slots: tuple[str, str]) -> str:
        role, trait = slots
        return f"the {word(trait)} {word(role)}" if trait in event.meanings else f"the {word(role)}"

    plot = event.plot
    subject, by = person(_WHO), person(_WHO)
    patient = f"{word('count')} {word('thing')}" if "thing" in event.meanings else person(_WHOM)
    be = "were" if "thing" in event.meanings else "was"
    trailing = ""
    if plot.trades:
        giver, receiver = person(_WHO), person(_WHOM)
        subject = by = receiver if style.receiving else giver
        trailing = f" from {giver}" if style.receiving else f" to {receiver}"
        verb = plot.verbs[event.meanings["verb"]][style.synonyms["verb"] + 2 * style.receiving]
    elif plot.judges:
        verb = plot.verbs[event.meanings["verb"] ^ style.denying][style.synonyms["verb"]]
    else:
        verb = word("verb")
    participle = _past(verb) if plot.judges else verb
    deny = " not" if style.denying and plot.judges else ""
    if style.passive:
        clause = f"{patient} {be}{deny} {participle}{trailing} by {by}"
    elif deny:
        clause = f"{subject} did not {verb} {patient}{trailing}"
    else:
        clause = f"{subject} {participle} {patient}{trailing}"

    adjuncts = []
    if "place" in event.meanings:
        adjuncts.append(f"near the {word('place')}")
    if "time" in event.meanings:
        adjuncts.insert(0 if style.time_first else 1, f"at {word('time')}")
    if adjuncts and style.adjunct_first:
        clause = f"{adjuncts.pop(0)} , {clause}"
    text = " ".join([clause, *adjuncts, "."])
    return text[0].upper() + text[1:]


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}ed"


# -- drawing ---------------------------------------------------------------------------------------------------------


def _below(random: Random, end: int) -> int:
    return int(random.random() * end)


def _one_of(random: Random, items: Sequence[_T]) -> _T:
    return items[_below(random, len(items))]


def _coin(random: Random) -> bool:
    return random.random() < 0.5


def _another(random: Random, count: int, *taken: int) -> int:
    """A number below `count` that is not taken."""
    return _one_of(random, [number for number in range(count) if number not in taken])


def _event(random: Random, cast: Sequence[tuple[int, int | None]], place: int, time: int) -> Event:
    """An event among two of a cast of (role, trait), perhaps at a place and a time."""
    plot = _one_of(random, _PLOTS)
    meanings = {"verb": _below(random, len(plot.verbs))}
    first = _below(random, len(cast))
    second = _another(random, len(cast), first)
    for slots, member in ((_WHO, first), (_WHOM, second))[: 1 + plot.has_whom]:
        role, trait = cast[member]
        meanings[slots[0]] = role
        if trait is not None:
            meanings[slots[1]] = trait
    if "thing" in plot.needs:
        meanings["count"] = _below(random, len(_COUNTS))
        meanings["thing"] = _below(random, len(_THINGS))
    if random.random() < _PLACE_SHARE:
        meanings["place"] = place
    if random.random() < _TIME_SHARE:
        meanings["time"] = time
    return Event(plot, meanings)


def _cast(random: Random, size: int) -> list[tuple[int, int | None]]:
    """People of different roles and different traits; about half of them have one."""
    roles: list[int] = []
    traits: list[int] = []
    for _ in range(size):
        roles.append(_another(random, len(_PEOPLE), *roles))
        traits.append(_another(random, len(_TRAITS), *traits))
    told = [random.random() < _TRAIT_SHARE for _ in range(size)]
    return [(role, trait if tells else None) for role, trait, tells in zip(roles, traits, told, strict=True)]


def _style(random: Random, synonyms: Mapping[str, int]) -> Style:
    passive, receiving, denying, time_first, adjunct_first = (_coin(random) for _ in range(5))
    return Style(synonyms, passive, receiving, denying, time_first, adjunct_first)


def _synonyms(random: Random, event: Event) -> dict[str, int]:
    return {slot: _below(random, 2) for slot in event.meanings}


# -- plain text ------------------------------------------------------------------------------------------------------


def write_stories(path: Path, *, documents: int, seed: int) -> None:
    """Write plain text as BERT's pre-training reads it: a sentence a line, an empty line between documents.

    A document has a cast of three and two events among them; each is told four times in a row.

    Args:
        path: the file; its folder exists.
        documents: how many.
        seed: of all that is drawn.
    """
    random = Random(seed)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join("".join(f"{line}\n" for line in _story(random)) for _ in range(documents)))


def _story(random: Random) -> Iterator[str]:
    cast = _cast(random, 3)
    place, time = _below(random, len(_PLACES)), _below(random, len(_TIMES))
    for _ in range(2):
        event = _event(random, cast, place, time)
        for _ in range(4):
            yield tell(event, _style(random, _synonyms(random, event)))


# -- the paraphrase task ---------------------------------------------------------------------------------------------

TRAIN_FILE = "msr_paraphrase_train.txt"
TEST_FILE = "msr_paraphrase_test.txt"
DEV_IDS_FILE = "mrpc_dev_ids.tsv"

_HEADER = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")

PARAPHRASE_SHARE = 0.6
"""The share of paraphrases among all pairs, give or take chance."""


@dataclass(frozen=True)
class Pair:
    """Two sentences, and whether they tell the same event."""

    first: str
    second: str
    paraphrase: bool


def write_paraphrases(folder: Path, *, train: int, dev: int, test: int, seed: int) -> None:
    """Write a paraphrase task as the MRPC corpus is laid out: `TRAIN_FILE`, `TEST_FILE` and `DEV_IDS_FILE`.

    Args:
        folder: where; it exists.
        train: rows of the train file that are not dev.
        dev: rows of the train file that the list of ids takes out as dev; they lie scattered in it.
        test: rows of the test file.
        seed: of all that is drawn.
    """
    random = Random(seed)
    rows = [draw_pair(random) for _ in range(train + dev + test)]
    # As in the corpus, ids are numbers that mean nothing; each sentence has one of its own.
    ids = [(100_000 + 2 * row, 100_001 + 2 * row) for row in range(len(rows))]
    dev_rows = sorted(sorted(range(train + dev), key=[random.random() for _ in rows].__getitem__)[:dev])
    _write_corpus(folder / TRAIN_FILE, rows[: train + dev], ids)
    _write_corpus(folder / TEST_FILE, rows[train + dev :], ids[train + dev :])
    lines = (f"{ids[row][0]}\t{ids[row][1]}\n" for row in dev_rows)
    (folder / DEV_IDS_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")


def _write_corpus(path: Path, pairs: Sequence[Pair], ids: Sequence[tuple[int, int]]) -> None:
    lines = ["\t".join(_HEADER)]
    lines += [
        f"{int(pair.paraphrase)}\t{first}\t{second}\t{pair.first}\t{pair.second}"
        for pair, (first, second) in zip(pairs, ids, strict=False)
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8-sig", newline="\n")


def draw_pair(random: Random) -> Pair:
    """Draw two sentences that tell the same event, or two events which differ a little."""
    cast = _cast(random, 2)
    event = _event(random, cast, _below(random, len(_PLACES)), _below(random, len(_TIMES)))
    first = _synonyms(random, event)
    slots = list(event.meanings)
    differing = [slot for slot in slots if random.random() < _DIFFERING_SHARE] or [_one_of(random, slots)]
    second = {slot: synonym ^ (slot in differing) for slot, synonym in first.items()}
    paraphrase = random.random() < PARAPHRASE_SHARE
    other = event
    if not paraphrase:
        ways = _exchanges(event)
        if ways and random.random() < _EXCHANGE_SHARE:
            other, second = _exchanged(event, second, _one_of(random, ways))
        else:
            other, second = _replaced(random, event, second, differing)
    return Pair(tell(event, _style(random, first)), tell(other, _style(random, second)), paraphrase)


_DENIAL: dict[str, str] = {}
"""The exchange of nothing: a judgement turns into its opposite."""

_PEOPLE_EXCHANGE = {"who": "whom", "whom": "who", "who_trait": "whom_trait", "whom_trait": "who_trait"}
_TRAITS_EXCHANGE = {"who_trait": "whom_trait", "whom_trait": "who_trait"}


def _exchanges(event: Event) -> list[dict[str, str]]:
    """The ways to tell something else with the same meanings: which slots exchange theirs."""
    ways = []
    if event.plot.has_whom:
        ways.append(_PEOPLE_EXCHANGE)
        if "who_trait" in event.meanings or "whom_trait" in event.meanings:
            ways.append(_TRAITS_EXCHANGE)
    if event.plot.judges:
        ways.append(_DENIAL)
    return ways


def _exchanged(event: Event, synonyms: Mapping[str, int], way: Mapping[str, str]) -> tuple[Event, dict[str, int]]:
    """An event of the same meanings in other slots, and the synonyms to tell it with, which move along."""
    meanings = {way.get(slot, slot): meaning for slot, meaning in event.meanings.items()}
    if way == _DENIAL:
        meanings["verb"] ^= 1
    return Event(event.plot, meanings), {way.get(slot, slot): synonym for slot, synonym in synonyms.items()}


def _replaced(
    random: Random, event: Event, synonyms: Mapping[str, int], differing: Sequence[str]
) -> tuple[Event, dict[str, int]]:
    """An event with other meanings in at least one slot in which the words differ anyway, and synonyms for them."""
    meanings, chosen = dict(event.meanings), dict(synonyms)
    certain = _one_of(random, differing)
    for slot in differing:
        if slot != certain and random.random() >= _REPLACED_SHARE:
            continue
        taken = {meanings[slot]}
        if slot in _PEOPLE_EXCHANGE and _PEOPLE_EXCHANGE[slot] in meanings:
            taken.add(meanings[_PEOPLE_EXCHANGE[slot]])
        if slot == "verb" and event.plot.judges:
            taken.add(meanings["verb"] ^ 1)
        meanings[slot] = _another(random, len(event.words(slot)), *taken)
        chosen[slot] = _below(random, 2)
    return Event(event.plot, meanings), chosen


# -- questions -------------------------------------------------------------------------------------------------------

_ASKED = {"place": ("where", "near the "), "time": ("when", "at ")}


def draw_questioned(random: Random, sentences: int) -> tuple[str, list[tuple[str, tuple[int, int] | None]]]:
    """Draw a passage about one cast, and two questions about each of its sentences: where it was, and when.

    Returns:
        the passage, and the questions; each with the characters of the passage that answer it, from the first to one
        past the last, or None where that is not told.
    """
    cast = _cast(random, 3)
    passage: list[str] = []
    questions: list[tuple[str, tuple[int, int] | None]] = []
    begin = 0
    for _ in range(sentences):
        event = _event(random, cast, _below(random, len(_PLACES)), _below(random, len(_TIMES)))
        style = _style(random, _synonyms(random, event))
        sentence = tell(event, style)
        bare = Event(event.plot, {slot: value for slot, value in event.meanings.items() if slot not in _ASKED})
        for slot, (word, before) in _ASKED.items():
            retold = tell(bare, _style(random, _synonyms(random, bare))).removesuffix(" .")
            span = None
            if slot in event.meanings:
                told = _WORDS[slot][event.meanings[slot]][style.synonyms[slot]]
                first = begin + sentence.lower().index(before + told) + len(before)
                span = (first, first + len(told))
            questions.append((f"{word} was it that {retold[0].lower()}{retold[1:]} ?".capitalize(), span))
        passage.append(sentence)
        begin += len(sentence) + 1
    return " ".join(passage), questions
