"""Seeds of draws: what may be one, and one for each kind of draw."""

from __future__ import annotations

import hashlib

from regard.errors import UnsupportedError


def check_seed(seed: object) -> None:
    """Refuse what is no whole number of 64 bits.

    Raises:
        UnsupportedError: it is not.
    """
    if type(seed) is not int or not -(2**63) <= seed < 2**63:
        raise UnsupportedError("a seed is a whole number of 64 bits", came=repr(seed))


def seed_for(seed: int, *what: int | str) -> int:
    """A 63-bit seed of `seed` and of what the draw is for: ("crop", index, epoch)."""
    digest = hashlib.blake2b(repr((seed, *what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
