"""Floats as Go's strconv and encoding/json write them."""

from __future__ import annotations

import math
from decimal import Decimal

from puna.chat.gotemplate.values import Byte


def shortest(value: float) -> tuple[str, int]:
    """The fewest digits that tell a finite number from all others, and the power of ten of the first of them."""
    if value == 0:
        return "0", 0
    _, digits, exponent = Decimal(repr(abs(value))).as_tuple()
    text = "".join(map(str, digits))
    assert isinstance(exponent, int)  # it is finite
    return text.rstrip("0"), exponent + len(text) - 1


def json_number(value: float) -> str:
    """As encoding/json writes it. ValueError for what is not finite."""
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        raise ValueError("JSON has no such number")
    digits, exponent = shortest(value)
    if value != 0 and not -6 <= exponent < 21:
        return _sign(value) + exponential(digits, exponent).replace("e-0", "e-")
    return _sign(value) + positional(digits, exponent)


def unsigned(value: float, verb: str, precision: int | None) -> str:
    """The absolute value of a finite number, as the verb (b, e, E, f, g, G, x, X) writes it.

    Without a precision it has the fewest digits that tell it from all others (e, E and f always have one).
    """
    value = abs(value)
    if verb in "xX":
        text = _hexadecimal(value, precision)
    elif verb == "b":
        text = _binary(value)
    elif precision is not None:
        text = f"{value:.{(precision or 1) if verb in 'gG' else precision}{verb}}"
    else:
        digits, exponent = shortest(value)
        text = positional(digits, exponent) if -4 <= exponent < 6 else exponential(digits, exponent)
    return text.upper() if verb in "EGX" else text


def exponential(digits: str, exponent: int) -> str:
    """`1.23e+06`: an exponent has two digits at least."""
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def positional(digits: str, exponent: int) -> str:
    """`1230000`."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole, rest = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{whole}.{rest}" if rest else whole


def _hexadecimal(value: float, precision: int | None) -> str:
    """`0x1.8p+01`: one binary digit before the point."""
    if value == 0:
        return "0x0" + ("." + "0" * precision if precision else "") + "p+00"
    mantissa, exponent = math.frexp(value)
    bits, exponent = int(mantissa * (1 << 53)), exponent - 1  # 1.xxx in 53 bits
    if precision is not None and precision < 13:
        dropped = 52 - 4 * precision
        kept, rest = divmod(bits, 1 << dropped)
        half = 1 << (dropped - 1)
        kept += rest > half or (rest == half and kept & 1)
        if kept >> (53 - dropped):
            kept, exponent = kept >> 1, exponent + 1
        bits = kept << dropped
    digits = f"{bits & ((1 << 52) - 1):013x}"
    digits = digits.rstrip("0") if precision is None else digits[:precision].ljust(precision, "0")
    return f"0x1{'.' if digits else ''}{digits}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _binary(value: float) -> str:
    """`4503599627370496p-52`: the mantissa as an integer, and the power of two."""
    mantissa, exponent = math.frexp(value)
    bits, exponent = int(mantissa * (1 << 53)), exponent - 53
    if exponent < -1074:  # a subnormal number, or zero
        bits, exponent = bits >> (-1074 - exponent), -1074
    if value == 0:
        exponent = -1074
    return f"{bits}p{exponent:+d}"


def _sign(value: float) -> str:
    return "-" if math.copysign(1.0, value) < 0 else ""


def base_text(value: int, base: int) -> str:
    """The digits of an absolute value in base 2, 8, 10 or 16."""
    return format(abs(value), {2: "b", 8: "o", 10: "d", 16: "x"}[base])


def unsigned_64(value: int) -> int:
    """What Go's conversion to uint64 makes of it."""
    return int(value) if isinstance(value, Byte) else value & ((1 << 64) - 1)
