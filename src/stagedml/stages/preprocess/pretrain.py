"""From plain text to rows that a BERT is pre-trained on. Devlin et al. 2018, BERT, section 3.1 and appendix A.2."""

from __future__ import annotations

import json
import shutil

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages.parameters import Count, RowLength, Share, ShareBelowOne, ShareBetween
from stagedml.types import PretrainTFR, Text, Vocabulary


@stage(PretrainTFR, name="bert-pretrain-tfrecords")
def bert_pretrain_tfrecords(
    build: Build,
    *,
    corpus: Text,
    vocabulary: Vocabulary,
    cased: bool = False,
    max_seq_length: RowLength = 128,
    row_sentences: Count | None = None,
    short_share: ShareBelowOne = 0.1,
    random_next_share: ShareBelowOne = 0.5,
    mask_share: ShareBetween = 0.15,
    mask_token_share: Share = 0.8,
    random_token_share: Share = 0.1,
    whole_words: bool = False,
    dupe_factor: Count = 10,
    held_out_every: int = 20,
    seed: int = 0,
    train: RefPath = output("train"),
    valid: RefPath = output("valid.tfrecord"),
    rows: RefPath = output("rows.json"),
    vocab: RefPath = output("vocab.txt"),
    workers: Exec[Count] = 2,
) -> None:
    """Cut text into rows of two segments and hide a share of `mask_share` of their word pieces, or of their words if
    `whole_words`; in a share of `random_next_share` the second segment is from another document.

    The documents are gone through `dupe_factor` times, with other rows and other pieces hidden each time. The first of
    `held_out_every` documents is held out. Defaults are those of Google's own script. `cased` is as the vocabulary is.
    See `stagedml.ml.pretrain_records`.
    """
    from stagedml.errors import UsageError
    from stagedml.ml.pretrain_records import RowSettings, write_pretrain_records
    from stagedml.ml.tokenizers import BertTokenizer

    if cased != vocabulary.cased:
        raise UsageError(f"cased is {cased}, the vocabulary's is {vocabulary.cased}; give cased={vocabulary.cased}")
    written = write_pretrain_records(
        build.path(corpus.text),
        build.path(train),
        build.path(valid),
        BertTokenizer(build.path(vocabulary.vocab), lower_case=not cased),
        RowSettings(
            max_length=max_seq_length,
            row_sentences=row_sentences,
            short_share=short_share,
            random_next_share=random_next_share,
            mask_share=mask_share,
            mask_token_share=mask_token_share,
            random_token_share=random_token_share,
            whole_words=whole_words,
            dupe_factor=dupe_factor,
            held_out_every=held_out_every,
        ),
        seed=build.seed,
        workers=workers,
        progress=build.progress,
    )
    shutil.copy(build.path(vocabulary.vocab), build.path(vocab))
    counts = {"documents": dict(written.documents), "train": list(written.train), "valid": written.valid}
    build.path(rows).write_text(json.dumps(counts, indent=2) + "\n")
