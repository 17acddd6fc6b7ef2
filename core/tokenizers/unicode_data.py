#!/usr/bin/env python3
"""Writes unicode_data.cpp: decompositions, combining classes and compositions of Unicode's normal forms; letters and numbers."""

import pathlib
import sys
import unicodedata

HANGUL = range(0xAC00, 0xD7A4)  # computed, not listed


def decomposition(code: int, form: str) -> list[int]:
    return [ord(c) for c in unicodedata.normalize(form, chr(code))]


def rows(name: str, kind: str, numbers: list[int]) -> str:
    lines, line = [], "   "
    for n in numbers:
        word = f" {n},"
        if len(line) + len(word) > 110:
            lines.append(line)
            line = "   "
        line += word
    return f"const {kind} {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def main() -> None:
    codes = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000 and c not in HANGUL]
    out = f"// Made by unicode_data.py from Unicode {unicodedata.unidata_version}. Do not edit.\n"
    out += '#include "core/tokenizers/unicode_data.h"\n\nnamespace natrix::unicode {\n\n// clang-format off\n'
    for name, form, apart in (("canonical", "NFD", None), ("compatible", "NFKD", "NFD")):
        flat: list[int] = []
        for c in codes:
            d = decomposition(c, form)
            if d != [c] and (apart is None or d != decomposition(c, apart)):
                flat += [c, len(d), *d]
        out += rows(f"k{name.capitalize()}", "uint32_t", flat) + f"const size_t k{name.capitalize()}Size = {len(flat)};\n"
    classes = [n for c in codes if (k := unicodedata.combining(chr(c))) for n in (c, k)]
    out += rows("kClasses", "uint32_t", classes) + f"const size_t kClassesSize = {len(classes)};\n"
    pairs: list[int] = []
    for c in codes:
        words = unicodedata.decomposition(chr(c)).split()
        if len(words) == 2 and not words[0].startswith("<") and unicodedata.normalize("NFC", chr(c)) == chr(c):
            pairs += [int(words[0], 16), int(words[1], 16), c]
    out += rows("kPairs", "uint32_t", pairs) + f"const size_t kPairsSize = {len(pairs)};\n"
    for name, letter in (("Letters", "L"), ("Numbers", "N")):
        inside = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == letter]
        runs: list[int] = []
        for c in inside:
            if runs and c == runs[-1] + 1:
                runs[-1] = c
            else:
                runs += [c, c]
        out += rows(f"k{name}", "uint32_t", runs) + f"const size_t k{name}Size = {len(runs)};\n"
    out += "// clang-format on\n\n}  // namespace natrix::unicode\n"
    pathlib.Path(__file__).with_suffix(".cpp").write_text(out)


main()
