"""The storyteller: its layouts, that its labels are true, and that words alone do not give them away."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from stagedml.ml import storyteller
from stagedml.ml.storyteller import Pair, draw_pair, write_paraphrases, write_stories

# -- an independent reader -------------------------------------------------------------------------------------------

Meaning = tuple[str, int]
_LISTS = {
    "role": storyteller._PEOPLE,
    "trait": storyteller._TRAITS,
    "thing": storyteller._THINGS,
    "count": storyteller._COUNTS,
    "place": storyteller._PLACES,
    "time": storyteller._TIMES,
    "deed": storyteller._DEEDS,
    "handling": storyteller._HANDLINGS,
    "trust": storyteller._JUDGEMENTS_OF_PEOPLE,
    "taste": storyteller._JUDGEMENTS_OF_THINGS,
    "trade": storyteller._TRADES,
}
_MEANINGS = {
    word: (name, number) for name, words in _LISTS.items() for number, entry in enumerate(words) for word in entry
}
_RECEIVING = {word for entry in storyteller._TRADES for word in entry[2:]}


def _meaning(word: str) -> Meaning:
    """What a word means; verbs are looked up by their base form, too."""
    for form in (word, word.removesuffix("d"), word.removesuffix("ed"), word.removesuffix("ied") + "y"):
        if form in _MEANINGS:
            return _MEANINGS[form]
    raise AssertionError(f"no meaning: {word}")


def read_sentence(sentence: str) -> dict[str, object]:
    """What a sentence tells, whichever way it tells it."""
    told: dict[str, object] = {}
    words = sentence.lower().split()
    assert words.pop() == "."
    clause: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("near", "at"):
            if word == "near":
                assert words.pop(0) == "the"
            kind, number = _meaning(words.pop(0))
            assert kind == ("place" if word == "near" else "time")
            told[kind] = number
        elif word != ",":
            clause.append(word)

    groups: list[tuple[str, list[Meaning]]] = [("subject", [])]
    verb, denied = "", False
    for word in clause:
        if word in ("to", "from", "by"):
            groups.append((word, []))
        elif word == "not":
            denied = True
        elif word not in ("the", "was", "were", "did"):
            kind = _meaning(word)[0]
            if kind in ("deed", "handling", "trust", "taste", "trade"):
                verb = word
                groups.append(("object", []))
            else:
                groups[-1][1].append(_meaning(word))
    parts = {name: tuple(group) for name, group in groups if group}
    passive = "was" in clause or "were" in clause
    agent = parts["by"] if passive else parts["subject"]
    patient = parts["subject"] if passive else parts["object"]
    other = parts.get("to", parts.get("from"))
    kind, number = _meaning(verb)
    if kind == "trade":
        assert ("from" in parts) == (verb in _RECEIVING)
        if verb in _RECEIVING:
            assert other is not None
            agent, other = other, agent
    if kind in ("trust", "taste"):
        number ^= denied
    else:
        assert not denied
    return told | {"verb": (kind, number), "agent": agent, "patient": patient, "other": other}


# -- tests -----------------------------------------------------------------------------------------------------------


def _pairs(count: int, seed: int) -> list[Pair]:
    random = Random(seed)
    return [draw_pair(random) for _ in range(count)]


def test_two_sentences_are_paraphrases_exactly_if_they_tell_the_same() -> None:
    for pair in _pairs(3000, seed=0):
        first, second = read_sentence(pair.first), read_sentence(pair.second)
        assert (first == second) == pair.paraphrase, pair


def test_no_word_stands_twice_in_the_lists() -> None:
    words = [word for entries in _LISTS.values() for entry in entries for word in entry]
    assert len(words) == len(set(words)) == len(_MEANINGS)


def test_stories_tell_each_event_four_times_in_a_row(tmp_path: Path) -> None:
    write_stories(tmp_path / "stories.txt", documents=50, seed=1)
    text = (tmp_path / "stories.txt").read_text(encoding="utf-8")
    assert text.endswith(".\n")
    documents = text.removesuffix("\n").split("\n\n")
    assert len(documents) == 50
    for document in documents:
        sentences = document.split("\n")
        assert len(sentences) == 8
        first, second = sentences[:4], sentences[4:]
        for event in (first, second):
            assert all(read_sentence(sentence) == read_sentence(event[0]) for sentence in event)


def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    files: list[dict[str, bytes]] = []
    for seed in (5, 5, 6):
        folder = tmp_path / str(len(files))
        folder.mkdir()
        write_stories(folder / "stories.txt", documents=20, seed=seed)
        write_paraphrases(folder, train=40, dev=10, test=10, seed=seed)
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert files[0] == files[1]
    assert all(files[0][name] != files[2][name] for name in files[0])


def test_the_paraphrase_task_has_the_layout_of_mrpc(tmp_path: Path) -> None:
    write_paraphrases(tmp_path, train=400, dev=60, test=80, seed=2)
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows: dict[str, list[list[str]]] = {}
    for name in ("train", "test"):
        data = (tmp_path / f"msr_paraphrase_{name}.txt").read_bytes()
        assert data.startswith(b"\xef\xbb\xbf" + header.encode() + b"\n")
        rows[name] = [line.split("\t") for line in data.decode("utf-8-sig").split("\n")[1:-1]]
    assert (len(rows["train"]), len(rows["test"])) == (460, 80)
    for quality, first, second, *texts in rows["train"] + rows["test"]:
        assert quality in ("0", "1")
        assert first != second
        assert len(texts) == 2
        assert all(text == text.strip() != "" for text in texts)
    ids = [(row[1], row[2]) for row in rows["train"]]
    dev = [tuple(line.split("\t")) for line in (tmp_path / "mrpc_dev_ids.tsv").read_text().splitlines()]
    assert len(set(dev)) == 60
    places = [ids.index((first, second)) for first, second in dev]
    assert places == sorted(places)
    assert max(places) > 400  # scattered over the whole file, not cut off one end
    assert min(places) < 60
    shares = [np.mean([row[0] == "1" for row in part]) for part in (rows["train"], rows["test"])]
    assert all(0.5 < share < 0.7 for share in shares)


# -- what words alone tell -------------------------------------------------------------------------------------------


def _words(pair: Pair) -> tuple[set[str], set[str]]:
    return set(pair.first.lower().split()), set(pair.second.lower().split())


def _overlap(pair: Pair) -> float:
    first, second = _words(pair)
    return len(first & second) / len(first | second)


def _bag_of_words(pairs: list[Pair]) -> NDArray[np.float64]:
    """For each word, whether the first sentence has it, the second, both, or one alone; the overlap; both lengths."""
    vocabulary = {word: place for place, word in enumerate(sorted({w for p in pairs for s in _words(p) for w in s}))}
    size = len(vocabulary)
    features = np.zeros((len(pairs), 4 * size + 4))
    for row, pair in enumerate(pairs):
        first, second = _words(pair)
        for part, words in enumerate((first, second, first & second, first ^ second)):
            features[row, [part * size + vocabulary[word] for word in words]] = 1
        features[row, -4:] = (1, 4 * _overlap(pair), len(first) / 10, len(second) / 10)
    return features


def _logistic_regression(features: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights by Newton's method, with a little ridge."""
    weights = np.zeros(features.shape[1])
    for _ in range(8):
        chance = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (chance - labels) + weights
        hessian = (features.T * (chance * (1 - chance))) @ features + np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    return weights


def test_words_alone_do_not_tell_paraphrases_from_others() -> None:
    pairs = _pairs(9000, seed=3)
    labels = np.array([float(pair.paraphrase) for pair in pairs])
    features = _bag_of_words(pairs)
    known, unknown = slice(0, 6000), slice(6000, 9000)
    majority = labels[unknown].mean()
    assert 0.57 < majority < 0.63

    weights = _logistic_regression(features[known], labels[known])
    bag_of_words = np.mean((features[unknown] @ weights > 0) == labels[unknown])
    overlaps = np.array([_overlap(pair) for pair in pairs])
    by_overlap = max(
        np.mean(((overlaps > threshold) == above) == labels)
        for threshold in np.unique(overlaps)
        for above in (True, False)
    )
    # Chance alone moves 3,000 rows by about a point.
    assert bag_of_words < majority + 0.03
    assert by_overlap < labels.mean() + 0.03
    words_differ = np.array([len(set.symmetric_difference(*_words(pair))) for pair in pairs])
    assert abs(words_differ[labels == 1].mean() - words_differ[labels == 0].mean()) < 0.5
