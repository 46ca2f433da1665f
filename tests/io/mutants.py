"""Damage as disks, networks and enemies do it: what the tests and the long fuzz run have in common."""

from __future__ import annotations

import random

__all__ = ["mutant"]


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, insert, repeat, or overwrite a length, one to four times."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(1, min(len(changed), chance.choice([600, 3000, len(data)]))))
        match chance.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place : place + chance.choice([1, 2, 64, len(changed)])]
            case 2:
                changed[place:place] = chance.randbytes(chance.randint(1, 16))
            case 3:
                changed[place : place + 4] = chance.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\0\0"]
                )
            case 4:
                changed[place:place] = changed[place : place + 64]
    return bytes(changed)
