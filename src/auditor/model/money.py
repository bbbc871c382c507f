"""Money: integer pico-dollars inside, decimal strings outside, never a float."""

from __future__ import annotations

from decimal import Decimal

PICO = 10**12
"""Pico-dollars in one US dollar. Nano-dollars cannot hold 230 of the published token rates exactly."""


def to_decimal_string(pico: int) -> str:
    """Write pico-dollars as a plain decimal string in USD, without an exponent or trailing zeros.

    >>> to_decimal_string(1_250_000_000_000)
    '1.25'
    >>> to_decimal_string(0)
    '0'
    """
    sign = "-" if pico < 0 else ""
    whole, rest = divmod(abs(pico), PICO)
    if not rest:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{rest:012d}".rstrip("0")


def from_decimal_string(text: str) -> int:
    """Read a decimal string in USD as pico-dollars; raises ``ValueError`` on anything finer or not a number."""
    try:
        scaled = Decimal(text) * PICO
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a decimal number") from error
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of pico-dollars")
    return int(scaled)


def in_dollars(pico: int, digits: int = 2) -> str:
    """Write pico-dollars for a person: ``$1,234.50``; amounts too small for ``digits`` keep four significant ones."""
    amount = Decimal(pico) / PICO
    if pico and abs(amount) < Decimal(1).scaleb(-digits) * 5:
        return f"${amount:,.{max(digits, 3 - amount.adjusted())}f}"
    return f"${amount:,.{digits}f}"
