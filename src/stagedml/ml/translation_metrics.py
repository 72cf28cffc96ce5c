"""How good translations are: BLEU as sacrebleu defines it, and the share that is exactly right.

Papineni et al. 2002, BLEU; Post 2018, A Call for Clarity in Reporting BLEU Scores: a score means something only with
its signature, which says how texts were cut into words, and the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TranslationScores:
    """What some translations came to.

    Attributes:
        bleu: of all of them together, 0 to 100.
        exact_match: the share that equals its reference, spaces at both ends aside.
        signature: sacrebleu's, of `bleu`.
    """

    bleu: float
    exact_match: float
    signature: str


def score_translations(translations: Sequence[str], references: Sequence[str]) -> TranslationScores:
    """Compare translations with one reference each.

    Raises:
        ValueError: there are not as many of one as of the other, or none.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(translations) != len(references) or not references:
        raise ValueError(f"{len(translations)} translations for {len(references)} references")
    metric = BLEU()
    score = metric.corpus_score(list(translations), [list(references)]).score
    right = sum(ours.strip() == theirs.strip() for ours, theirs in zip(translations, references, strict=True))
    return TranslationScores(float(score), right / len(references), str(metric.get_signature()))
