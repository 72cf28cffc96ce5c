"""Wikipedia: dumps from Wikimedia or from a local file, and the text of their articles.

https://dumps.wikimedia.org; the sums are those that Wikimedia publishes beside its dumps. Text: CC BY-SA.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.errors import UsageError
from stagedml.stages.fetch import fetchlocal, fetchurl
from stagedml.stages.parameters import Count
from stagedml.types import File, WikiStat, WikiText

_SHA1 = {  # wiki: (date, sha1)
    "enwiki": ("20200301", "852dfec9eba3c4d5ec259e60dca233b6a777a05e"),
    "ruwiki": ("20200301", "9f522ccf2931497e99a12d001a3bc7910f275519"),
}


def fetch_wiki(name: str, dump: str | os.PathLike[str] | None = None) -> File:
    """A dump of all articles of a Wikipedia, as bz2.

    Args:
        name: enwiki or ruwiki.
        dump: a local one, of any date, whole or cut, plain or as bz2; default that of March 2020 from Wikimedia, 17 GB
            of English or 4 GB of Russian.
    """
    if dump is not None:
        return fetchlocal(dump)
    if name not in _SHA1:
        raise UsageError(f"fetch_wiki({name!r}): known are {', '.join(_SHA1)}; of others, give a local file as dump=")
    date, sha1 = _SHA1[name]
    return fetchurl(f"https://dumps.wikimedia.org/{name}/{date}/{name}-{date}-pages-articles.xml.bz2", sha1=sha1)


@stage(WikiText, name="extract-{wiki}")
def extract_wiki(
    build: Build,
    *,
    dump: File,
    wiki: str,
    text: RefPath = output("text.txt"),
    counts: RefPath = output("counts.json"),
    workers: Exec[Count] = 2,
) -> None:
    """Take the sentences of all articles out of a MediaWiki dump; `wiki` is but its name.

    See `stagedml.ml.wikiextract` for what is left out; `counts.json` says how much of each.
    """
    from stagedml.ml.wikiextract import extract

    found = extract(build.path(dump.file), build.path(text), workers=workers, progress=build.progress)
    build.path(counts).write_text(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@stage(WikiStat, name="wikistat")
def wikistat(build: Build, *, corpus: WikiText, statistics: RefPath = output("statistics.json")) -> None:
    """Count what a wiki has: its pages by kind, and the documents, sentences, words and characters of its text."""
    from stagedml.ml.documents import text_statistics

    found = json.loads(build.path(corpus.counts).read_text(encoding="utf-8"))
    found |= text_statistics(build.path(corpus.text))
    build.path(statistics).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
