"""Damage as disks, networks and enemies do it: what the tests and the long fuzz run have in common."""

from __future__ import annotations

import random

__all__ = ["mutant"]


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Flip, overwrite, cut, insert, repeat, or overwrite a length, one to four times, mostly once or twice."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 4])):
        place = chance.randrange(max(1, min(len(changed), chance.choice([600, 3000, len(data)]))))
        match chance.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[place : place + 1] = bytes([byte ^ 1 << chance.randrange(8) for byte in changed[place:][:1]])
            case 2:
                del changed[place : place + chance.choice([1, 2, 64, len(changed)])]
            case 3:
                changed[place:place] = chance.randbytes(chance.randint(1, 16))
            case 4:
                changed[place : place + 4] = chance.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\0\0"]
                )
            case 5:
                changed[place:place] = changed[place : place + 64]
    return bytes(changed)
