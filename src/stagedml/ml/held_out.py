"""Which rows of a train set are held out for choosing."""

from __future__ import annotations

import hashlib


def is_held_out(index: int) -> bool:
    """Whether a row of train belongs to the validation split.

    The rule, fixed for ever: the row's number (from 0, a header not counted) in decimal digits is hashed with
    SHA-256; the row is held out if the first 8 bytes of the hash, a big-endian number, leave a remainder below 5 when
    divided by 100. No generator and no seed: the split of a file is the same everywhere. It holds out 5 % of the rows,
    give or take chance (MRPC: see `docs/explanation/mrpc-settings.md`).
    """
    return int.from_bytes(hashlib.sha256(str(index).encode()).digest()[:8], "big") % 100 < 5
