"""Foreign text in LaTeX: no character can become a command, a ligature or an error."""

from __future__ import annotations

import re
import unicodedata

from harness.report.table import plain

# What of LaTeX's own, or of its fonts' ligatures, would not show as it is.
_ASCII = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # At the beginning of a row these would be arguments of the line break before it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
} | {char: f"\\{char}" for char in "$&#_%"}
_SYMBOLS = {
    "·": r"\textperiodcentered{}",
    "×": r"\texttimes{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "…": r"\textellipsis{}",
    "µ": r"\textmu{}",
    "μ": r"\textmu{}",
    "°": r"\textdegree{}",
    "±": r"\textpm{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\textsection{}",
    "¶": r"\textparagraph{}",
    "‖": r"\textbardbl{}",
    "ß": r"\ss{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ı": r"\i{}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "≈": r"\ensuremath{\approx}",
    "σ": r"\ensuremath{\sigma}",
}
# Combining characters and the accent that each is, over or under a letter of ASCII.
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def escape(text: str) -> str:
    """`text` on one line as LaTeX that shows it as it is, in any font encoding.

    What a Latin font does not have is written as U+4E2D, so that every engine compiles it.
    """
    shown = unicodedata.normalize("NFC", plain(" ".join(text.split())))
    # Two of a kind would become one sign: -- a dash, '' a quotation mark, ,, another.
    return re.sub(r"(?<=([-',]))(?=\1)", "{}", "".join(_char(char) for char in shown))


def _char(char: str) -> str:
    if char in _ASCII or char in _SYMBOLS:
        return _ASCII.get(char) or _SYMBOLS[char]
    if char.isascii():
        return char
    letter, *accents = list(unicodedata.normalize("NFD", char))
    if len(accents) == 1 and accents[0] in _ACCENTS and letter.isascii() and letter.isalpha():
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    return f"U+{ord(char):04X}"
