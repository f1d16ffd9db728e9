"""One spelling for one thing: Unicode and LaTeX variants of an answer, made the same.

Holds:           character maps and regular expressions over short texts (the caps are checked
                 before: math_answer.screen).
Holds not:       meaning. What comes out is still text; tokens.py reads it.
Must stay true:  idempotent for all practical purposes, linear time, nothing is evaluated.
"""

import re
import unicodedata

_SUPERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_SUBS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n", strict=True))
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8),
    "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10), "↉": (0, 3),
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi",
    "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "－": "-",
    "×": r"\times ", "✕": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ",
    "•": r"\cdot ", "∗": "*", "÷": r"\div ", "∕": "/", "⁄": "/", "∞": r"\infty ", "≤": r"\le ",
    "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ",
    "±": r"\pm ", "∓": r"\mp ", "°": r"\degree ", "º": r"\degree ", "∘": r"\degree ",
    "℃": r"\degree C", "℉": r"\degree F", "′": "'", "″": "''", "∑": r"\sum ", "∏": r"\prod ",
    "∫": r"\int ", "∂": r"\partial ", "√": r"\usqrt ", "∛": r"\ucbrt ", "∜": r"\uqdrt ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "ℯ": "e", "ⅈ": "i", "⟨": r"\langle ", "⟩": r"\rangle ",
    "〈": r"\langle ", "〉": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "、": ",", "。": ".", "【": "[", "】": "]", "“": '"', "”": '"', "‘": "'",
    "’": "'", "…": r"\ldots ", "⋯": r"\cdots ", "∠": r"\angle ", "△": r"\triangle ", "％": "%",
    "‰": r"\permille ", "￥": "¥", "£": "£", "\u00a0": " ", "\u2002": " ", "\u2003": " ",
    "\u2004": " ", "\u2005": " ", "\u2006": " ", "\u2007": r"\,", "\u2008": " ",
    "\u2009": r"\,", "\u200a": " ", "\u202f": r"\,", "\u205f": " ", "\u3000": " ", "\u200b": "",
    "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "", "\u2061": "", "\u2062": "",
    "\u2063": ",", "\u00ad": "", "\u200e": "", "\u200f": "",
}  # fmt: skip
_MAP = {ord(key): value for key, value in _SIGNS.items()}
_MAP |= {0x2460 + i: f"({i + 1})" for i in range(20)}  # ① is the first statement, not the number 1
_MAP |= {
    ord(sign): rf"\text{{{unit}}}^{power}" if power > 1 else rf"\text{{{unit}}}"
    for sign, unit, power in [
        ("㎜", "mm", 1), ("㎝", "cm", 1), ("㎞", "km", 1), ("㎎", "mg", 1), ("㎏", "kg", 1),
        ("㎟", "mm", 2), ("㎠", "cm", 2), ("㎡", "m", 2), ("㎢", "km", 2), ("㎣", "mm", 3),
        ("㎤", "cm", 3), ("㎥", "m", 3),
    ]
}  # fmt: skip
_MAP |= {ord(key): rf"\{name} " for key, name in _GREEK.items()}

_SUPER_RUN = re.compile(f"[{''.join(_SUPERS)}]+")
_SUB_RUN = re.compile(f"[{''.join(_SUBS)}]+")
_SMALL_FRACTION = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄/∕]([₀₁₂₃₄₅₆₇₈₉]+)")
_VULGAR_ONE = re.compile(f"[{''.join(_VULGAR)}]")

_SPACING = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|"
    r"(?:text)?color\s*\{[^{}]*\}|boldsymbol|cal|bf|rm|it|tt|sf|large|Large|small|normalsize|phantom\{[^{}]*\}|"
    r"hspace\*?\{[^{}]*\}|vspace\*?\{[^{}]*\}|label\{[^{}]*\}|tag\{[^{}]*\})(?![A-Za-z])"
)
_DELIMITERS = re.compile(r"\\[()\[\]]")
_THIN = re.compile(r"(?<!\\)\\[!]")
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:> ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|enspace(?![A-Za-z]))")
_FRACS = re.compile(r"\\(?:d|t|c|x|s|nice)frac(?![A-Za-z])")
_BINOMS = re.compile(r"\\[dt]binom(?![A-Za-z])")
_TEXTS = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up|md|sc)?|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathtt|"
    r"mathnormal|operatorname\*?|bm|pmb|underline|emph|bold|mathcal|mathscr)\s*\{"
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z({\[])")
_RIGHT_DOT = re.compile(r"\\(?:left|right)\s*\.")
_DEGREE = re.compile(
    r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z])|\{?\s*\\degree\s*\}?|\{\s*o\s*\})"
)
_COMMA_BRACES = re.compile(r" ?\{\s*,\s*\}")
_GROUPED = re.compile(
    r"(?<![\d.,_^])([1-9]\d{0,2})((?:,\d{3})+|(?: \d{3})+)(?!\d|,\d|\s\d)(?!\s*\d*/\d)"
)
_DIGIT_GAP = re.compile(r"(?<=\d)\\[,!]\s*(?=\d{3}(?!\d))|(?<=\d),\\!\s*(?=\d{3}(?!\d))")
_TEXT_GROUP = re.compile(r"\\text\{\s*([^{}]*?)\s*\}")
_LOOSE_SPACE = re.compile(r" (?!\d)|(?<!\d) ")
_BLANKS = re.compile(r"\s+")
_SYNONYMS = [
    (re.compile(r"\\(?:leq|leqslant|leqq)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant|geqq)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![A-Za-z])|!=|\\not\s*="), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:lbrace)(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\(?:varnothing)(?![A-Za-z])|\\\{\s*\\\}"), r"\\emptyset "),
    (re.compile(r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:cdotp|centerdot|ast)(?![A-Za-z])"), r"\\cdot "),
    (re.compile(r"\\(?:backslash|smallsetminus)(?![A-Za-z])"), r"\\setminus "),
    (re.compile(r"\\varphi(?![A-Za-z])"), r"\\phi "),
    (re.compile(r"\\varepsilon(?![A-Za-z])"), r"\\epsilon "),
    (re.compile(r"\\(?:vartheta)(?![A-Za-z])"), r"\\theta "),
    (re.compile(r"\\(?:bigcup)(?![A-Za-z])"), r"\\cup "),
    (re.compile(r"\\(?:dots|dotsc|dotsb|cdots|ldots|vdots)(?![A-Za-z])|\.\.\."), r"\\ldots "),
    (re.compile(r"\\(?:simeq|thickapprox|doteq)(?![A-Za-z])"), r"\\approx "),
    (re.compile(r"\\mathbb\s*R(?![A-Za-z])|\\R(?![A-Za-z])|\\reals(?![A-Za-z])"), r"\\mathbb{R}"),
    (re.compile(r"\\mathbb\{R\}\s*-\s*(?=\\\{)"), r"\\mathbb{R}\\setminus "),
    (re.compile(r"\\(?:imath)(?![A-Za-z])"), "i"),
    (re.compile(r"\*\*"), "^"),
]  # fmt: skip

_HAS_SYNONYM = re.compile(
    r"\\(?!(?:frac|sqrt|text|times|cdot|pi|degree|left|right)(?![A-Za-z]))|[<>!]=|\*\*|\.\.\."
)
"""Whether one of them may be there: a command that is none of these, or a sign of two characters."""


def unicode_text(text: str) -> str:
    """Unicode variants to their ASCII or LaTeX spelling: full-width digits, ², ½, √, ×, ≤, π, …"""
    if text.isascii():
        return text
    text = _SMALL_FRACTION.sub(_small_fraction, text)
    text = _SUPER_RUN.sub(_super, text)
    text = _SUB_RUN.sub(lambda run: "_{" + "".join(_SUBS[c] for c in run.group()) + "}", text)
    text = _VULGAR_ONE.sub(_vulgar, text)
    text = text.translate(_MAP)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).translate(_MAP)
    return "".join(_digit(char) for char in text)


def _small_fraction(match: re.Match[str]) -> str:
    top = "".join(_SUPERS[char] for char in match.group(1))
    return f"\\frac{{{top}}}{{{''.join(_SUBS[char] for char in match.group(2))}}}"


def _super(run: re.Match[str]) -> str:
    return "^{" + "".join(_SUPERS[char] for char in run.group()) + "}"


def _vulgar(one: re.Match[str]) -> str:
    top, bottom = _VULGAR[one.group()]
    return f"\\frac{{{top}}}{{{bottom}}}"


def _digit(char: str) -> str:
    if char.isascii():
        return char
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def latex_text(text: str) -> str:
    """LaTeX variants to one spelling; spacing and sizing commands, `$` and math brackets dropped.

    Text commands stay as `\\text{…}` when they hold words and are unwrapped when they do not.
    """
    if "$" in text:
        text = _dollars(text)
    if "\\" in text:
        if "\\begin" not in text:
            text = _DOUBLED.sub(r"\\", text)
        text = _RIGHT_DOT.sub("", text)
        text = _SPACING.sub("", text)
        text = _DIGIT_GAP.sub("", text)
        text = _THIN.sub("", text)
        text = _DELIMITERS.sub(" ", text)
        text = _SPACES.sub(" ", text)
        text = _FRACS.sub(r"\\frac", text)
        text = _BINOMS.sub(r"\\binom", text)
        text = _DEGREE.sub(r"\\degree ", text)
        text = _texts(text.replace("~", " "))
    text = text.replace("~", " ")
    text = _COMMA_BRACES.sub(",", text)
    if _HAS_SYNONYM.search(text):
        for pattern, to in _SYNONYMS:
            text = pattern.sub(to, text)
    return _BLANKS.sub(" ", text).strip()


def clean(text: str) -> str:
    """Everything above, and the edges: markdown, quotes, a closing full stop or comma.

    >>> clean("$\\\\dfrac{1}{2}$.")
    '\\\\frac{1}{2}'
    """
    text = unicode_text(text).strip()
    if "**" in text or "`" in text:
        text = _unmark(text)
    text = latex_text(text)
    return text.strip(" \"'").rstrip(".,;:!? " if text.count("!") == 0 else ".,;:? ").strip()


def _unmark(text: str) -> str:
    """Drop markdown emphasis around the whole; `2**3` in the middle stays."""
    for mark in ("```", "**", "`"):
        if text.startswith(mark):
            text = text[len(mark) :]
            if text.endswith(mark):
                text = text[: -len(mark)]
            elif text.endswith(mark + "."):
                text = text[: -len(mark) - 1]
    return text.strip()


def _dollars(text: str) -> str:
    """Drop `$` that delimit mathematics; a lone one is money, written `\\$` from here on."""
    plain = text.replace("\\$", "")
    if plain.count("$") % 2:
        at = _first_bare_dollar(text)
        return (
            text[:at].replace("\\$", "\0").replace("$", "").replace("\0", "\\$")
            + "\\$"
            + (text[at + 1 :].replace("\\$", "\0").replace("$", "").replace("\0", "\\$"))
        )
    return text.replace("\\$", "\0").replace("$", " ").replace("\0", "\\$")


def _first_bare_dollar(text: str) -> int:
    at = text.find("$")
    while at > 0 and text[at - 1] == "\\":
        at = text.find("$", at + 1)
    return at


def _texts(text: str) -> str:
    """`\\text{…}`, `\\mathrm{…}`, …: one spelling, and none around single letters and signs."""
    parts: list[str] = []
    at = 0
    while match := _TEXTS.search(text, at):
        parts.append(text[at : match.start()])
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
            end += 1
        content = text[match.end() : end - (depth == 0)]
        numbered = any(char.isdigit() for char in content)
        wordy = not numbered and re.search(r"[A-Za-z]{2}|[^\W\d_a-zA-Z]", content) is not None
        is_unit = re.fullmatch(r"\s+[A-Za-z]\s*|[A-Za-z](?=\Z)", content) is not None and bool(
            re.search(r"[\d})]\s*\Z", text[: match.start()])
        )
        if wordy or (is_unit and content.strip() not in ("i", "e")):
            parts.append("\\text{" + content.replace("{", "(").replace("}", ")") + "}")
        else:
            parts.append(f" {content} ")
        at = end
    return "".join(parts) + text[at:]


def ungroup(text: str) -> str:
    """Thousands separators out: 65,960 and 65 960 to 65960.

    `1,234` is one number; `(1,234)`, `[1,234]` and `1, 234` are two.
    """
    if "," not in text and " " not in text:
        return text

    def join(match: re.Match[str]) -> str:
        before = text[: match.start()].rstrip("- ")[-2:]
        after = text[match.end() :].lstrip()[:1]
        if (before[-1:] in ("(", "[") or before == "\\{") and after and after in ")]\\":
            return match.group()
        return match.group(1) + match.group(2).replace(",", "").replace(" ", "")

    return _GROUPED.sub(join, text)


def key(text: str) -> str:
    """A string for equality of cleaned texts: no spaces but between digits. Case is kept."""
    text = _TEXT_GROUP.sub(r"\1", text)
    return _LOOSE_SPACE.sub("", text)
