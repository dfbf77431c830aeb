"""The undefined symbols of an ELF object file of 64 bits (System V ABI, chapter 4)."""

from __future__ import annotations

import struct

_SYMTAB = 2
_UNDEFINED = 0


def undefined_symbols(code: bytes) -> set[str]:
    """Names that the file uses and does not hold. Raises ValueError if it is not ELF."""
    if code[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian ELF file of 64 bits")
    section_table, size, count = struct.unpack_from("<Q10xHH", code, 40)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, section_table + i * size) for i in range(count)]
    names: set[str] = set()
    for _, kind, _, _, offset, length, link, _, _, entry_size in sections:
        if kind != _SYMTAB:
            continue
        strings = sections[link][4]
        for at in range(offset + entry_size, offset + length, entry_size):  # the first symbol stands for none
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if section == _UNDEFINED:
                names.add(code[strings + name : code.index(b"\0", strings + name)].decode())
    return names
