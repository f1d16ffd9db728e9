"""In which script a text is written, and whether that fits the language it is said to be in.

Counts letters; understands nothing. Mathematics is written in Latin and Greek everywhere, so single
letters and LaTeX commands count for no script. Not covered: languages that share a script (French
said to be English), and languages that are not in `SCRIPTS_OF`.
"""

import re
from functools import lru_cache

RANGES = {
    "Han": "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
    "Kana": "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arabic": "\u0620-\u064a\u066e-\u06d3\u0750-\u077f",
    "Hebrew": "\u05d0-\u05ea",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
}
SCRIPTS_OF = {
    "zh": ("Han",),
    "ja": ("Kana", "Han"),
    "ko": ("Hangul", "Han"),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "kk"), ("Cyrillic",)),
    "sr": ("Cyrillic", "Latin"),
    "el": ("Greek",),
    **dict.fromkeys(("ar", "fa", "ur"), ("Arabic",)),
    "he": ("Hebrew",),
    **dict.fromkeys(("hi", "mr", "ne"), ("Devanagari",)),
    "bn": ("Bengali",),
    "ta": ("Tamil",),
    "te": ("Telugu",),
    "th": ("Thai",),
    **dict.fromkeys(
        (
            *("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "fi", "pl", "cs"),
            *("sk", "sl", "hr", "ro", "hu", "tr", "vi", "id", "ms", "sw", "et", "lv", "lt"),
        ),
        ("Latin",),
    ),
}
_NAMES = {
    "english": "en", "chinese": "zh", "japanese": "ja", "korean": "ko", "russian": "ru",
    "german": "de", "french": "fr", "spanish": "es", "cn": "zh", "bengali": "bn", "telugu": "te",
    "thai": "th", "swahili": "sw", "hindi": "hi", "arabic": "ar",
}  # fmt: skip
FEW = 4
"""Letters below which nothing is said."""
LEAST = {"Latin": 0.5}
"""Share of the letters that the language's scripts must have; 0.2 for all others, whose texts
often hold Latin names and units."""

# not after a backslash, and (so that the match cannot start inside a command) not after a letter
_RUNS = {
    name: re.compile(
        rf"(?<![\\{letters}])[{letters}]{{2,}}"
        if name in ("Latin", "Greek", "Cyrillic")
        else f"[{letters}]+"
    )
    for name, letters in RANGES.items()
}
_TAG = re.compile(r"</?[A-Za-z_]{1,32}>")


def scripts(text: str) -> dict[str, int]:
    """Letters by script, most first; {} without any."""
    text = _TAG.sub(" ", text)
    names = ("Latin",) if text.isascii() else tuple(RANGES)
    counts = {n: sum(len(run.group()) for run in _RUNS[n].finditer(text)) for n in names}
    return dict(sorted(((n, c) for n, c in counts.items() if c), key=lambda item: -item[1]))


@lru_cache(maxsize=1024)
def code(lang: str) -> str:
    """Two letters for `en-US`, `zh_CN`, `English`; "" for what is not known."""
    word = re.split(r"[-_ ]", lang.strip().lower(), maxsplit=1)[0]
    word = _NAMES.get(word, word)
    return word if word in SCRIPTS_OF else ""


def misfit(lang: str, counts: dict[str, int]) -> str:
    """Why a text with these letters is hardly in that language; "" if it may be, or is not known."""
    known = SCRIPTS_OF.get(code(lang))
    letters = sum(counts.values())
    if known is None or letters < FEW:
        return ""
    share = sum(counts.get(name, 0) for name in known) / letters
    if share >= max(LEAST.get(name, 0.2) for name in known):
        return ""
    return f"said to be '{lang}', but {1 - share:.0%} of its letters are {next(iter(counts))}"
