"""Hashes of words that can be joined: the hash of a concatenation follows from the hashes of its parts.

The hash of bytes ``b[0..n)`` is the polynomial ``sum((b[i] + 1) * BASE ** (n - 1 - i))`` modulo the Mersenne prime
2**61 - 1 (Karp and Rabin, "Efficient randomized pattern-matching algorithms", 1987). Two different strings of up to n
bytes collide with probability at most n / 2**61 over the choice of the base; polynomials modulo 2**64 would be cheaper,
but have known collisions for every base (Thue-Morse strings).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from stages.kernel import kernel

MODULUS = np.uint64(2**61 - 1)
BASE = np.uint64(1_381_240_731_895_346_173)  # any number below the modulus, drawn once
_POWERS_IN_TABLE = 256
_ONE = np.uint64(1)


def _powers() -> NDArray[np.uint64]:
    powers = [1]
    for _ in range(_POWERS_IN_TABLE - 1):
        powers.append(powers[-1] * int(BASE) % int(MODULUS))
    return np.array(powers, np.uint64)


POWERS = _powers()
"""BASE ** n modulo MODULUS for n < 256."""


def _digits() -> NDArray[np.uint64]:
    digits = [[(byte + 1) * int(POWERS[place]) % int(MODULUS) for byte in range(256)] for place in range(4)]
    return np.array(digits, np.uint64)


_DIGITS = _digits()  # [place, byte]: what a byte adds that has so many bytes after it
_STEP = POWERS[4]
_EXPONENT = np.uint64(61)


@intrinsic  # type: ignore[untyped-decorator]
def _folded_product(typing_context: Any, a: Any, b: Any) -> Any:
    """``a * b`` folded once, at most 2 * MODULUS for both up to it. numba has no product of 128 bits of its own."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, narrow = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        low = builder.and_(builder.trunc(product, narrow), ir.Constant(narrow, 2**61 - 1))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 61)), narrow)
        return builder.add(low, high)

    return types.uint64(types.uint64, types.uint64), code


@kernel
def product(a: np.uint64, b: np.uint64) -> np.uint64:
    """``a * b`` modulo MODULUS, for both below it."""
    folded: np.uint64 = _folded_product(a, b)
    return folded - MODULUS if folded >= MODULUS else folded


@kernel
def total(a: np.uint64, b: np.uint64) -> np.uint64:
    """``a + b`` modulo MODULUS, for both below it."""
    added = np.uint64(a + b)
    return added - MODULUS if added >= MODULUS else added


@kernel
def power(exponent: int) -> np.uint64:
    """``BASE ** exponent`` modulo MODULUS."""
    if exponent < len(POWERS):
        return np.uint64(POWERS[exponent])
    found, square, left = _ONE, BASE, exponent
    while left:
        if left & 1:
            found = product(found, square)
        square = product(square, square)
        left >>= 1
    return found


@kernel
def joined(first: np.uint64, second: np.uint64, second_bytes: int) -> np.uint64:
    """Hash of the concatenation of two strings; the second has ``second_bytes`` bytes. That of no bytes is 0."""
    return total(product(first, power(second_bytes)), second)


@kernel
def hash_of(data: NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """Hash of ``data[start:end]``, four bytes a step: half of the time of one byte a step."""
    found, i = np.uint64(0), start
    while i + 4 <= end:
        step = _DIGITS[3, data[i]] + _DIGITS[2, data[i + 1]] + _DIGITS[1, data[i + 2]] + _DIGITS[0, data[i + 3]]
        step += _folded_product(found, _STEP)  # below 4 * 2**61 + 2 * 2**61, so no overflow
        found = (step & MODULUS) + (step >> _EXPONENT)
        i += 4
    found = found - MODULUS if found >= MODULUS else found
    while i < end:
        found = total(product(found, BASE), _DIGITS[0, data[i]])
        i += 1
    return found
