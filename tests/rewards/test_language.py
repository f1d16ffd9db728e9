"""Language consistency against words counted by hand."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.language import consistency, prose, target

# -- the language of a question ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "question, lang",
    [
        # MGSM
        ("A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in "
         "total does it take?", "en"),
        # the Gaokao of 2023 in English: mostly notation
        ("Given sets $M=\\{x|x+2\\geq 0\\},N=\\{x|x-1<0\\}$, find $M \\cap N$.", "en"),
        ("$\\frac{5(1+i^{3})}{(2+i)(2-i)}=?$", ""),
        # CMATH, middle school, Gaokao: hardly any character between the formulas
        ("妈妈带了30元，买了一条鱼，剩6元，这条鱼多少钱？", "zh"),
        ("下列四个数中，最小的数是()\nA.-2  B.0  C. 3  D.  -1/2", "zh"),
        ("已知 \\frac{z}{\\mathrm{i}}=-1-\\mathrm{i}, 则 z=(\\quad). A. -1-\\mathrm{i}", "zh"),
        ("设集合 $A=\\{x \\mid x \\geq 1\\}, B=\\{x \\mid-1<x<2\\}$, 则 $A \\cap B=$ ( )", "zh"),
        ("$(1+\\sqrt{3} i)^{3}=( )", ""),
        # one word
        ("Simplify $\\sqrt{8}$.", "en"), ("Compute $1+1$.", "en"), ("Factor $x^2-1$.", "en"),
        ("求 $x$", "zh"), ("Решите: $x+1=2$", "ru"),
        # the larger part, when there are two; Chinese with foreign terms is Chinese
        ("请解释 transformer 模型中 self attention 的计算过程", "zh"),
        ("How do you say 'good morning' in Chinese, is it 早上好 or something else?", "en"),
        # code is not the language of the question
        ("用 Python 实现：\n```python\ndef add(first, second):\n    return the_sum_of_both\n```", "zh"),
        ("", ""), ("12 + 5 = ?", ""), ("x", ""), ("\ud800\x00", ""), ("🙂", ""),
    ],
)  # fmt: skip
def test_target(question, lang):
    assert target(question) == lang


SENTENCES = {
    "en": "The sum of both numbers is twelve, and the first of them is three times the second.",
    "de": "Die Summe der beiden Zahlen ist zwölf, und die erste ist dreimal so groß wie die zweite.",
    "fr": "La somme des deux nombres est douze, et le premier vaut trois fois le second nombre.",
    "es": "La suma de los dos números es doce, y el primero es tres veces mayor que el segundo.",
    "it": "La somma dei due numeri è dodici, e il primo è tre volte più grande del secondo.",
    "pt": "A soma dos dois números é doze, e o primeiro é três vezes maior do que o segundo.",
    "nl": "De som van beide getallen is twaalf, en het eerste is drie keer zo groot als het tweede.",
    "sv": "Summan av de båda talen är tolv, och det första är tre gånger så stort som det andra.",
    "pl": "Suma obu liczb wynosi dwanaście, a pierwsza jest trzy razy większa od drugiej liczby.",
    "cs": "Součet obou čísel je dvanáct a první číslo je třikrát větší než to druhé.",
    "fi": "Lukujen summa on kaksitoista, ja ensimmäinen niistä on kolme kertaa toisen suuruinen.",
    "hu": "A két szám összege tizenkettő, és az első háromszor akkora, mint a második.",
    "ro": "Suma celor două numere este doisprezece, iar primul este de trei ori mai mare.",
    "tr": "İki sayının toplamı on ikidir ve birinci sayı ikincinin üç katı kadar büyüktür.",
    "vi": "Tổng của hai số là mười hai, và số thứ nhất gấp ba lần số thứ hai.",
    "id": "Jumlah kedua bilangan itu adalah dua belas, dan yang pertama tiga kali yang kedua.",
    "ru": "Сумма двух чисел равна двенадцати, и первое из них в три раза больше второго.",
    "uk": "Сума двох чисел дорівнює дванадцяти, і перше з них утричі більше за друге.",
    "ar": "مجموع العددين هو اثنا عشر، والعدد الأول ثلاثة أضعاف العدد الثاني.",
    "fa": "مجموع دو عدد دوازده است و عدد اول سه برابر عدد دوم می‌باشد که بزرگ‌تر است.",
    "he": "סכום שני המספרים הוא שתים עשרה, והראשון גדול פי שלושה מן השני.",
    "el": "Το άθροισμα των δύο αριθμών είναι δώδεκα και ο πρώτος είναι τριπλάσιος του δεύτερου.",
    "hi": "दोनों संख्याओं का योग बारह है और पहली संख्या दूसरी की तीन गुनी है।",
    "th": "ผลรวมของจำนวนทั้งสองคือสิบสอง และจำนวนแรกเป็นสามเท่าของจำนวนที่สอง",
    "ko": "두 수의 합은 열둘이고 첫째 수는 둘째 수의 세 배입니다.",
    "ja": "二つの数の和は十二で、一つ目の数は二つ目の数の三倍です。",
    "zh": "这两个数的和是十二，并且第一个数是第二个数的三倍。",
}


@pytest.mark.parametrize("lang", SENTENCES)
def test_each_language_is_known_and_is_consistent_with_itself_alone(lang):
    assert target(SENTENCES[lang]) == lang
    for other in SENTENCES:
        if {lang, other} == {"ar", "fa"}:
            continue  # one script, not told apart in the thinking
        assert consistency(SENTENCES[lang], other) == (lang == other), other


# -- how many words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thinking, lang, share",
    [
        ("", "en", None), (" \n", "en", None), ("$x+1$ 2 = 3", "en", None),
        ("```\nreturn total\n```", "en", None), ("x y z ABC \\alpha", "zh", None),
        ("some words", "", None), ("some words", "tlh", None),  # no target, no share
        # 5 characters and 5 words
        ("先算三角形 then we add the rest", "zh", 5 / 10),
        ("先算三角形 then we add the rest", "en", 5 / 10),
        # don't is one word, well-known two: 4 of 6 with 步骤
        ("don't well-known 步骤 why", "en", 4 / 6),
        ("Ничего нет, 对不对", "zh", 3 / 5),
        ("二つの数を足す", "ja", 1.0), ("두 수를 더한다", "ko", 1.0),
        # names of languages as they are written
        ("some words", "English", 1.0), ("some words", "en-US", 1.0), ("некоторые слова", "ru", 1.0),
        # traditional characters, rare ones, the sign for "again"
        ("這兩個數𠀀々〇", "zh", 1.0),
    ],
)  # fmt: skip
def test_share_of_words(thinking, lang, share):
    assert consistency(thinking, lang) == (share if share is None else pytest.approx(share))


ENGLISH = "First we look at the smaller of the two triangles and note its height.\n"  # 14 words
FRENCH = "On calcule ensuite la somme des termes de la suite, puis on conclut.\n"  # 13 words
CHINESE = "我们先看两个三角形中较小的那一个并记下高。\n"  # 20 characters


@given(st.lists(st.sampled_from([ENGLISH, FRENCH, CHINESE]), min_size=1, max_size=12))
def test_mixed_text_is_scored_in_proportion(parts):
    text = "".join(parts)
    words = [14 * parts.count(ENGLISH), 13 * parts.count(FRENCH), 20 * parts.count(CHINESE)]
    for lang, ours in zip(("en", "fr", "zh"), words, strict=True):
        assert consistency(text, lang) == pytest.approx(ours / sum(words))


@pytest.mark.parametrize(
    "notation",
    [
        "```python\nfor item in items:\n    total = total + item\n```\n",
        "~~~\nplain words in here\n~~~\n",
        "`total_of(items)` ", "``some code``", "$a \\text{ if } b$ ", "$$\nx \\mathrm{ is even}\n$$",
        "\\( f \\text{ is even} \\)", "\\[\n\\begin{aligned} x &= 1 \\\\[2pt] y &= 2 \\end{aligned} \\]",
        "\\frac{a}{b} \\sqrt{ab} \\mathrm{cm}", "f(x) = 3x + 2ab - sin(x) ", "n_max = max_value * 10kg ",
        "https://example.org/some/path?of=words ", "www.example.org ", "<think> </answer> ",
        "<|im_end|> ", "ABC ABCD maxValue LinkedList ", "sin cos km x y a b ", "5 cm 3% 10:30 ∠ABC ",
        "α β αβ π ", "x² ℝ ½ Ⅷ 𝑎𝑏 ", "1. - * ** # > | ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("lang, around", [("zh", CHINESE), ("ru", SENTENCES["ru"] + "\n")])
def test_notation_is_in_no_language(lang, around, notation):
    assert consistency(notation, lang) is None
    assert consistency(around + notation + around, lang) == 1.0
    assert consistency(CHINESE + notation + ENGLISH, "zh") == pytest.approx(20 / 34)


@pytest.mark.parametrize(
    "hidden",
    [
        "```\n# 然后我们\n```\n",
        "`然后我们`",
        "$\\text{然后我们}$",
        "\\(然后我们\\)",
        "www.example.org/然后我们",
    ],
)
def test_another_script_counts_inside_of_notation(hidden):
    assert consistency(ENGLISH + hidden, "en") == pytest.approx(14 / 18)
    assert consistency(hidden, "zh") == 1.0


@pytest.mark.parametrize(
    "text, words",
    [
        ("it costs $5 each and $10 for both", 6),
        ("an open $x dollar sign\nis only a sign", 7),  # `an`, not `x` or `a`
        ("an open \\( bracket and an open \\[ one", 7),
        ("an open ` tick", 3),
        ("**bold** words, (in brackets) \"quoted\" 'words'", 6),
        ("say and/or end.\nNew", 5),
    ],
)
def test_what_only_looks_like_notation_counts(text, words):
    # the English words of `text` against six Chinese characters
    assert consistency(text + "\n这里有六个字", "en") == pytest.approx(words / (words + 6))


def test_a_fence_that_is_never_closed_runs_to_the_end():
    assert consistency(CHINESE + "```python\n" + ENGLISH, "zh") == 1.0
    assert consistency(CHINESE + "```python\nx = 1\n```\n" + ENGLISH, "zh") == pytest.approx(
        20 / 34
    )


def test_names_cost_nothing():
    text = "根据 Cauchy-Schwarz 不等式和 Isaac Newton 的方法，用 Python 来算。"
    assert consistency(text, "zh") == 1.0
    assert consistency("По теореме Pythagoras получаем ответ сразу", "ru") == 1.0
    french = "D'après le théorème de Jordan Hölder Schreier, on conclut que la suite converge.\n"
    assert consistency(french, "fr") == 1.0
    assert consistency("Pierre Fermat, Sophie Germain, Évariste Galois, Émile Borel", "en") == 1.0


def test_english_words_in_chinese_are_no_names():
    # Wait, However: 2 of 8; then a sentence of five words
    assert consistency("Wait，我想想。However，不对呀", "zh") == pytest.approx(6 / 8)
    assert consistency("我们先算。Now Let Us See This", "zh") == pytest.approx(4 / 9)


@pytest.mark.parametrize(
    "thinking",
    [
        "Wait.",
        "miles miles miles miles",
        "Step Conclusion",
        "Total: eggs",
        "Donc",
        "Lamar finds eggs",
    ],
)
def test_too_little_to_tell_counts_as_the_target(thinking):
    assert consistency(thinking, "en") == 1.0


def test_short_lines_are_read_together():
    """One word a line says nothing; all of them do."""
    lines = FRENCH.replace(" ", "\n")
    assert consistency(lines, "fr") == 1.0
    assert consistency(lines, "en") == 0.0


def test_the_characters_of_japanese_are_not_chinese():
    assert consistency(SENTENCES["ja"] + "\n" + SENTENCES["zh"], "zh") == pytest.approx(
        23 / (23 + 26)
    )


# -- whatever comes ----------------------------------------------------------------------------------


@given(
    st.text(alphabet=st.sampled_from("a我é 1$\\(`~\n。.<x>がд'\ud800\x00{}[]=")),
    st.sampled_from(["en", "zh", "ja", "ru", "sr"]),
)
def test_any_text_has_a_share_or_none(text, lang):
    share = consistency(text, lang)
    assert share is None or 0 <= share <= 1
    assert target(text) in {"", "en", "zh", "ja", "ru"} | set(SENTENCES) or len(target(text)) == 2
    assert len(prose(text)) <= len(text) + 2


@pytest.mark.parametrize(
    "piece",
    [
        "a", "A", "é", "我", "が", "д", " ", "\n", "$", "$a", "$ a", "$$", "$$a", "\\", "\\(", "\\[",
        "\\(\\[", "\\a", "\\a{b}", "{", "`", "`a", "```\n", "```", "~~~\n", "<", "<a", "<|", "</a>",
        "aa'", "a'", "aa'(", "www.", "http://", "\u0301", "e\u0301\u0327", "\ud800", "\x00", "'", "Aa ",
        "a(", "aa1", "ಕ", "我a", "aд", "wait ",
    ],
)  # fmt: skip
def test_hostile_text_comes_to_an_end(piece):
    """Quadratic time would take minutes for each of these."""
    text = piece * (200_000 // len(piece))
    for lang in ("en", "zh"):
        share = consistency(text, lang)
        assert share is None or 0 <= share <= 1
    target(text + "(")


def test_the_identifier_is_loaded_when_it_is_needed():
    code = (
        "import sys, aha.rewards.language as it\n"
        "it.target('求最小值'), it.consistency('我们先算。Wait, 然后', 'zh')\n"
        "print({'numpy', 'py3langid', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
