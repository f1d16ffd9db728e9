"""Language consistency: the share of the thinking's words that are in the language of the question.

    target(question)               -> the language the thinking should be in ("" if not known)
    consistency(thinking, target)  -> Num(words in the target language) / Num(words), or None

DeepSeek-R1 (2.3.2 of the first release, v2 Eq. 7) adds this share to the reward of the RL stage and
says neither what a word is nor how its language is found. Ours:

- **A word** is one Chinese or Japanese character, four letters of Thai, and in every other script
  what spaces and signs separate (`don't` is one, `well-known` two). So a thought counts about one
  and a half times as many words in Chinese as in English.
- **Not counted** is what is written alike everywhere: code (fenced or in backticks), mathematics
  (`$…$`, `\\(…\\)`, LaTeX commands, single letters, function names, units, anything that touches a
  digit or an operator), identifiers, points and acronyms (up to five capitals), addresses, tags.
  That excuses Latin and Greek letters only: a Chinese comment in a program counts.
- **Languages of one script** (Latin, Cyrillic) are told apart by a language identifier, py3langid,
  sentence by sentence and line by line, short ones joined to the next. What it is not sure of is
  taken for the target, so a name, a heading or a bare list costs nothing. Up to three capitalised
  words within another script are a name, too.

Not covered: two languages of one script within a sentence, transliteration, ar/fa/ur and hi/mr/ne
within the thinking. Time is linear in the text. The identifier is loaded when it is first needed (a
second, 100 MB); a text of Chinese and formulas does not need it.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator

from aha.data.language import RANGES, SCRIPTS_OF, code

Found = dict[str, list[re.Match[str]]]
"""Words (runs of characters for Han and Kana) by script; "Other" is a script we have no name for."""

FEW = 4
"""Characters of another script from which on Latin words weigh half in a question: a Chinese
problem may hold many Latin names and terms, an English one hardly a Chinese sentence."""
FAVOURITE = {"Latin": "en", "Cyrillic": "ru"}
"""The language of a question of few words of this script, unless another is `AHEAD` times as likely."""
AHEAD = 4.0
LEAST = 4
"""Different words from which on the language of a segment is looked for; names do not count where
most words have a capital."""
SURE, UNLIKELY = 0.3, 0.1
"""A segment is not in the target language when another has at least the one probability (among 33
languages) and the target less than the other."""
SHORT, SHORT_CJK, LONG = 40, 12, 300
"""A segment of fewer characters (the second: if some are Chinese, Japanese or Korean) is joined to the
next, one of more is cut."""
KANA = 0.1
"""Share of kana from which on a text of Chinese characters is Japanese."""


_WRAPS = re.compile(r"```[\w+-]*|~~~[\w+-]*|`|\$|\\[a-zA-Z]+|\\[()\[\]]")


def target(question: str) -> str:
    """The language of a question (`en`, `zh`, ...), "" if it has no words or an unknown language.

    The larger part decides where a question holds two.

    >>> target("设 $x>0$，求 $f(x)=x+\\\\frac1x$ 的最小值"), target("Find $x$."), target("$1+1=$")
    ('zh', 'en', '')
    """
    found = _by_script(prose(question))
    sizes = {script: float(_units(script, words)) for script, words in found.items()}
    if "Kana" in sizes:
        sizes["Han"] = sizes.get("Han", 0.0) + sizes.pop("Kana")
    if max((size for name, size in sizes.items() if name != "Latin"), default=0.0) >= FEW:
        sizes["Latin"] = sizes.get("Latin", 0.0) / 2
    if not sizes:
        return ""
    script = max(sizes, key=lambda name: sizes[name])
    if script == "Han":
        return _of_han(found) or "zh"
    if script == "Arabic":
        return _of_arabic(found)
    if script in FAVOURITE:
        return _likely([match[0] for match in found[script]], FAVOURITE[script])
    return _ALONE.get(script, "")


def consistency(thinking: str, target: str) -> float | None:
    """Share of the thinking's words in the target language, 0..1. DeepSeek-R1 v2 Eq. 7.

    None when there is no word to count (empty, only code or mathematics) or when `target` is not a
    language we know: nothing is known then, which is not a share of 0.

    >>> consistency("First 先算面积, then the sum.", "en")
    0.5
    """
    lang = _code(target)
    if not lang:
        return None
    ours = total = 0
    for segment in _segments(prose(thinking)):
        found = _by_script(segment)
        for script, words in found.items():
            units = _units(script, words)
            if script in SCRIPTS_OF[lang]:
                ours += 0 if _of_another(script, found, lang) else units
            elif script in _CASED:
                units -= _names(words)
            total += units
    return ours / total if total else None


def known(target: str) -> bool:
    """Whether this is the code of a language that words can be counted for."""
    return bool(_code(target))


def unwrapped(text: str) -> str:
    """The text without what takes words out of the count: fences, backticks, formula signs, LaTeX commands,
    capitals. For thinking of which nothing else is left."""
    return _WRAPS.sub(" ", text).lower()


def prose(text: str) -> str:
    """The text without code, mathematics, addresses and tags.

    Letters of scripts that are not those of mathematics stay, wherever they stand.
    """
    parts, at, fence = [], 0, ""
    for line in _FENCE.finditer(text):
        if not fence:
            parts.append(_ALIKE.sub(_kept, text[at : line.start()]))
            at, fence = line.start(), line[1]
        elif line[1] == fence and not line[2].strip():
            parts.append(_foreign(text[at : line.end()]))
            at, fence = line.end(), ""
    rest = text[at:]  # a fence that is still open runs to the end, as in Markdown
    parts.append(_foreign(rest) if fence else _ALIKE.sub(_kept, rest))
    return "".join(parts)


def _kept(match: re.Match[str]) -> str:
    return _foreign(match[0])


def _foreign(text: str) -> str:
    """What is left of code or mathematics: the letters that neither is written in."""
    return " " if text.isascii() else _NOTATION.sub(" ", text)


def _segments(text: str) -> Iterator[str]:
    """Sentences and lines, joined and cut to a useful length."""
    held = ""
    for piece in _BREAK.split(text):
        held = " ".join(f"{held} {piece}".split())
        if len(held) >= SHORT or (len(held) >= SHORT_CJK and _CJK.search(held)):
            yield from (held[at : at + LONG] for at in range(0, len(held), LONG))
            held = ""
    if held:
        yield held


def _by_script(text: str) -> Found:
    found: Found = {}
    for match in (_LATIN if text.isascii() else _ANY).finditer(text):
        script = match.lastgroup or ""
        if script not in _CASED or _is_word(match[0]):
            found.setdefault(script, []).append(match)
    return found


def _is_word(text: str) -> bool:
    """Not an acronym, the corners of a figure, an identifier in camel case, a function or a unit."""
    if text.isupper():
        return len(text) > 5
    return text[1:].islower() and text.lower() not in _UNIVERSAL


def _units(script: str, words: list[re.Match[str]]) -> int:
    if script in ("Han", "Kana"):
        return sum(match.end() - match.start() for match in words)
    if script == "Thai":
        return sum((match.end() - match.start() + 3) // 4 for match in words)
    return len(words)


def _of_another(script: str, found: Found, lang: str) -> bool:
    """Whether the words of this script, which is the target's, are in another of its languages."""
    if script in ("Han", "Kana"):
        return _of_han(found) not in ("", lang)
    words = [match[0] for match in found[script]]
    small = [word for word in words if word[0].islower()]
    if 2 * len(small) < len(words):  # names may be anybody's
        words = small
    if script not in FAVOURITE or len({word.lower() for word in words}) < LEAST:
        return False
    chances = _chances(words)
    return chances[lang] < UNLIKELY and max(chances.values()) >= SURE


def _likely(words: list[str], favourite: str) -> str:
    """The most likely language of a few words; "" if none stands out."""
    chances = _chances(words)
    best = max(chances, key=lambda lang: chances[lang])
    if AHEAD * chances[favourite] >= chances[best]:
        return favourite
    return best if chances[best] >= SURE else ""


def _chances(words: list[str]) -> dict[str, float]:
    """Probability of each language that is written in the Latin or the Cyrillic script."""
    return dict(_identifier()(" ".join(words)[: 4 * LONG]))


@functools.cache
def _identifier() -> Callable[[str], list[tuple[str, float]]]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    cased = {lang for lang, scripts in SCRIPTS_OF.items() if FAVOURITE.keys() & set(scripts)}
    made.set_languages({_code(lang) for lang in cased})
    rank: Callable[[str], list[tuple[str, float]]] = made.rank
    return rank


def _code(lang: str) -> str:
    """As `code`; the identifier knows Norwegian (Bokmål) by one name only."""
    found = code(lang)
    return "no" if found == "nb" else found


def _of_han(found: Found) -> str:
    """zh, ja or ko: whose the Chinese characters are; "" if they are few and alone."""
    han, kana = (_units(name, found.get(name, [])) for name in ("Han", "Kana"))
    hangul = sum(match.end() - match.start() for match in found.get("Hangul", ()))
    if kana > KANA * (han + kana):
        return "ja"
    if hangul and hangul >= han:
        return "ko"
    return "zh" if han > 5 else ""


def _of_arabic(found: Found) -> str:
    text = "".join(match[0] for match in found["Arabic"])
    for lang, letters in (("ur", "ٹڈڑںےہ"), ("fa", "پچژگکی")):
        if sum(text.count(letter) for letter in letters) > 0.02 * len(text):
            return lang
    return "ar"


def _names(words: Iterable[re.Match[str]]) -> int:
    """Words in runs of at most three that all look like names."""
    names, run = 0, list[re.Match[str]]()
    for match in words:
        if run and match.start() - run[-1].end() > 2:
            names += _if_names(run)
            run = []
        run.append(match)
    return names + _if_names(run)


def _if_names(run: list[re.Match[str]]) -> int:
    named = all(match[0][0].isupper() and match[0].lower() not in _OPENERS for match in run)
    return len(run) if named and len(run) <= 3 else 0


_CASED = ("Latin", "Cyrillic", "Greek")
_ALONE = {
    "Hangul": "ko", "Greek": "el", "Hebrew": "he", "Devanagari": "hi", "Bengali": "bn",
    "Tamil": "ta", "Telugu": "te", "Thai": "th",
}  # fmt: skip
"""The most widely written language of a script of which we tell only one."""
_UNIVERSAL_WORDS = (
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln lg exp lim max min sup inf "
    "mod gcd lcm det dim ker deg arg sgn sqrt frac cdot cm mm dm km kg mg ml dl kw hz khz mhz kb mb "
    "gb mph kmh pi theta alpha beta"
)
_UNIVERSAL = frozenset(_UNIVERSAL_WORDS.split())
"""Function names and units, which belong to no language."""
_OPENING_WORDS = (
    "wait so but hmm ok okay yes no now then thus hence let the this that these those we you it is in "
    "if for first second next also since because therefore however alternatively step note given "
    "finally again and or as at by of on to actually maybe perhaps similarly find check answer"
)
_OPENERS = frozenset(_OPENING_WORDS.split())
"""English words that begin sentences: with a capital, but no names. English is what other thinking
is mixed with."""

# every alternative starts with a plain character, so that the search skips to the next of them, and
# takes what it takes for good (possessive): a delimiter that is never closed costs one look
_ALIKE = re.compile(
    r"\\\\|\\\$"  # a line break, a dollar sign: no delimiters
    r"|\\\([^\\]*+(?:\\[^()][^\\]*+)*+\\\)"
    r"|\\\[[^\\]*+(?:\\[^\[\]][^\\]*+)*+\\\]"
    r"|\$\$[^$]*+\$\$"
    r"|\$(?=\S)[^$\n]*+(?<=\S)\$(?!\d)"  # `$5 or $6` is money
    r"|`[`]{0,2}[^`\n]{1,300}+[`]{1,3}"
    r"|https?://[!-~]+|www\.[!-~]+"
    r"|</?[A-Za-z_][A-Za-z0-9_]{0,31}>|<[|｜][^<>\n]{0,64}[|｜]>"
    r"|\\[A-Za-z]++\*?(?:\{[^{}\s]{0,80}\})*"
)
_FENCE = re.compile(r"^[ \t]*(```|~~~)[`~]*([^`\n]*)$", re.MULTILINE)
_NOTATION = re.compile("[\x00-\u03ff\u1e00-\u2dff\ufe00-\ufe0f\uff00-\uff65\U0001d400-\U0001d7ff]+")
_CJK = re.compile(f"[{RANGES['Han']}{RANGES['Kana']}{RANGES['Hangul']}]")
_BREAK = re.compile(r"[\n\r\u2028\u2029。！？；：]+|[.!?;:]+(?=\s)")


def _word(name: str, least: int) -> str:
    """A word of a script with spaces and capitals that touches no digit, operator or command."""
    letters = RANGES[name] + "\u0300-\u036f"
    return (
        rf"(?<![{letters}0-9_^=+<@#\\])(?:[{letters}]['’])?[{letters}]{{{least},}}+"
        rf"(?:['’][{letters}]++){{0,3}}+(?![0-9_^=+(@\\])"
    )


_LATIN_WORD = f"(?P<Latin>{_word('Latin', 2)})"
_LATIN = re.compile(_LATIN_WORD)
_ANY = re.compile(
    "|".join(
        [
            f"(?P<Han>[{RANGES['Han']}]+)",
            _LATIN_WORD,
            f"(?P<Cyrillic>{_word('Cyrillic', 2)})",
            f"(?P<Greek>{_word('Greek', 3)})",  # two Greek letters are a product
            f"(?P<Arabic>[{RANGES['Arabic']}\u064b-\u065f\u200c]{{2,}})",
            *(f"(?P<{name}>[{RANGES[name]}]+)" for name in ("Kana", "Hangul", "Thai")),
            *(
                f"(?P<{name}>[{RANGES[name]}]{{2,}})"
                for name in ("Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu")
            ),
            # superscripts, letterlike signs, full-width and mathematical letters are notation
            rf"(?P<Other>[^\W\d_{''.join(RANGES.values())}\u2070-\u214f\uff21-\uff5a"
            "\U0001d400-\U0001d7ff]{2,})",
        ]
    )
)
