"""Small operations on whole numbers, texts and lists: what the functions of task `functions` are made of.

Each is a Python function, the same as an expression, and its wording in English and Chinese. An
operation with a number k is made for a few k. All are total: empty lists, empty texts and numbers
below 0 have a value, and the wording says which where it is not plain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

NUMBER, TEXT, LIST, TRUTH = "number", "text", "list", "truth"


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    takes: str
    gives: str
    compute: Callable[[Any], Any]
    code: str
    """The same as a Python expression of x."""
    en: str
    zh: str


def _plain() -> list[Operation]:
    n, t, li, b = NUMBER, TEXT, LIST, TRUTH
    vowels = "aeiou"
    return [
        Operation("square", n, n, lambda x: x * x, "x * x", "square it", "求它的平方"),
        Operation(
            "abs", n, n, abs, "abs(x)", "take the absolute value", "取绝对值"
        ),
        Operation(
            "negate", n, n, lambda x: -x, "-(x)", "change its sign", "取相反数"
        ),
        Operation(
            "digit_sum", n, n, lambda x: sum(map(int, str(abs(x)))),
            "sum(int(d) for d in str(abs(x)))",
            "add up its decimal digits (ignore the sign)", "把十进制各位数字相加（忽略符号）",
        ),
        Operation(
            "digits", n, n, lambda x: len(str(abs(x))), "len(str(abs(x)))",
            "count its decimal digits (ignore the sign)", "数出十进制的位数（忽略符号）",
        ),
        Operation(
            "digit_list", n, li, lambda x: [int(d) for d in str(abs(x))],
            "[int(d) for d in str(abs(x))]",
            "list its decimal digits (ignore the sign)", "列出十进制各位数字（忽略符号）",
        ),
        Operation(
            "upto", n, li, lambda x: list(range(1, x + 1)), "list(range(1, x + 1))",
            "list the numbers from 1 up to it (empty below 1)", "列出从 1 到它的所有整数（小于 1 时为空）",
        ),
        Operation(
            "binary", n, t, lambda x: bin(abs(x))[2:], "bin(abs(x))[2:]",
            "write it in binary (without sign and prefix)", "写成二进制文本（不带符号和前缀）",
        ),
        Operation(
            "written", n, t, str, "str(x)", "turn it into a string", "转换成字符串"
        ),
        Operation(
            "is_even", n, b, lambda x: x % 2 == 0, "x % 2 == 0",
            "tell whether it is even (True or False)", "判断它是否为偶数（True 或 False）",
        ),
        Operation(
            "reverse_text", t, t, lambda x: x[::-1], "x[::-1]", "reverse it", "把它反转"
        ),
        Operation(
            "upper", t, t, str.upper, "x.upper()",
            "turn all letters into upper case", "把所有字母变成大写",
        ),
        Operation(
            "swap_case", t, t, str.swapcase, "x.swapcase()",
            "swap upper and lower case", "把大小写互换",
        ),
        Operation(
            "no_vowels", t, t, lambda x: "".join(c for c in x if c.lower() not in vowels),
            "''.join(c for c in x if c.lower() not in 'aeiou')",
            "remove all vowels (a, e, i, o, u in either case)",
            "去掉所有元音字母（a、e、i、o、u，不分大小写）",
        ),
        Operation(
            "no_spaces", t, t, lambda x: x.replace(" ", ""), "x.replace(' ', '')",
            "remove all spaces", "去掉所有空格",
        ),
        Operation(
            "double_signs", t, t, lambda x: "".join(c + c for c in x),
            "''.join(c + c for c in x)", "write every character twice", "把每个字符写两遍",
        ),
        Operation(
            "sort_signs", t, t, lambda x: "".join(sorted(x)), "''.join(sorted(x))",
            "sort its characters as Python's sorted does", "按 Python 的 sorted 给字符排序",
        ),
        Operation(
            "last_word", t, t, lambda x: (x.split() or [""])[-1], "(x.split() or [''])[-1]",
            "take its last word (empty if there is none)", "取最后一个单词（没有时为空字符串）",
        ),
        Operation("length", t, n, len, "len(x)", "count its characters", "数出字符的个数"),
        Operation(
            "vowels", t, n, lambda x: sum(c.lower() in vowels for c in x),
            "sum(c.lower() in 'aeiou' for c in x)",
            "count its vowels (a, e, i, o, u in either case)",
            "数出元音字母的个数（a、e、i、o、u，不分大小写）",
        ),
        Operation(
            "words", t, n, lambda x: len(x.split()), "len(x.split())",
            "count its words (separated by spaces)", "数出单词的个数（以空格分隔）",
        ),
        Operation(
            "upper_letters", t, n, lambda x: sum(c.isupper() for c in x),
            "sum(c.isupper() for c in x)", "count its upper-case letters", "数出大写字母的个数",
        ),
        Operation(
            "different_signs", t, n, lambda x: len(set(x)), "len(set(x))",
            "count its different characters", "数出不同字符的个数",
        ),
        Operation(
            "word_lengths", t, li, lambda x: [len(w) for w in x.split()],
            "[len(w) for w in x.split()]",
            "list the lengths of its words", "列出各个单词的长度",
        ),
        Operation(
            "palindrome", t, b, lambda x: x == x[::-1], "x == x[::-1]",
            "tell whether it reads the same backwards (True or False)",
            "判断它倒过来是否一样（True 或 False）",
        ),
        Operation("sum", li, n, sum, "sum(x)", "add up its numbers", "求所有数的和"),
        Operation("count", li, n, len, "len(x)", "count its numbers", "数出数的个数"),
        Operation(
            "span", li, n, lambda x: max(x) - min(x) if x else 0, "(max(x) - min(x) if x else 0)",
            "take the largest number minus the smallest (0 if it is empty)",
            "用最大的数减去最小的数（空列表得 0）",
        ),
        Operation(
            "largest", li, n, lambda x: max(x, default=0), "max(x, default=0)",
            "take the largest number (0 if it is empty)", "取最大的数（空列表得 0）",
        ),
        Operation(
            "smallest", li, n, lambda x: min(x, default=0), "min(x, default=0)",
            "take the smallest number (0 if it is empty)", "取最小的数（空列表得 0）",
        ),
        Operation(
            "count_even", li, n, lambda x: sum(v % 2 == 0 for v in x),
            "sum(v % 2 == 0 for v in x)", "count the even numbers", "数出偶数的个数",
        ),
        Operation(
            "different", li, n, lambda x: len(set(x)), "len(set(x))",
            "count the different numbers", "数出不同的数的个数",
        ),
        Operation(
            "reverse", li, li, lambda x: x[::-1], "x[::-1]", "reverse its order", "把顺序反转"
        ),
        Operation("sort", li, li, sorted, "sorted(x)", "sort it, smallest first", "从小到大排序"),
        Operation(
            "sort_down", li, li, lambda x: sorted(x, reverse=True), "sorted(x, reverse=True)",
            "sort it, largest first", "从大到小排序",
        ),
        Operation(
            "squares", li, li, lambda x: [v * v for v in x], "[v * v for v in x]",
            "square every number", "把每个数平方",
        ),
        Operation(
            "even", li, li, lambda x: [v for v in x if v % 2 == 0],
            "[v for v in x if v % 2 == 0]", "keep only the even numbers", "只保留偶数",
        ),
        Operation(
            "odd", li, li, lambda x: [v for v in x if v % 2 == 1],
            "[v for v in x if v % 2 == 1]", "keep only the odd numbers", "只保留奇数",
        ),
        Operation(
            "positive", li, li, lambda x: [v for v in x if v > 0], "[v for v in x if v > 0]",
            "keep only the numbers above 0", "只保留大于 0 的数",
        ),
        Operation(
            "unique", li, li, lambda x: list(dict.fromkeys(x)), "list(dict.fromkeys(x))",
            "drop repeated numbers (keep the first of each)", "去掉重复的数（各保留第一个）",
        ),
        Operation(
            "running", li, li, lambda x: list(accumulate(x)),
            "[sum(s[:i + 1]) for s in [x] for i in range(len(s))]",
            "replace every number by the sum of all up to it", "把每个数换成到它为止的和",
        ),
        Operation(
            "every_second", li, li, lambda x: x[::2], "x[::2]",
            "keep every second number, beginning with the first", "从第一个起每隔一个保留一个数",
        ),
        Operation(
            "without_first", li, li, lambda x: x[1:], "x[1:]", "drop its first number", "去掉第一个数"
        ),
        Operation(
            "joined", li, t, lambda x: "-".join(map(str, x)), "'-'.join(str(v) for v in x)",
            "join the numbers with '-' into a string", "用“-”把各数连成一个字符串",
        ),
        Operation(
            "sorted_already", li, b, lambda x: x == sorted(x), "x == sorted(x)",
            "tell whether it is sorted, smallest first (True or False)",
            "判断它是否已从小到大排好（True 或 False）",
        ),
    ]  # fmt: skip


def _with_number(k: int) -> list[Operation]:
    n, t, li = NUMBER, TEXT, LIST
    return [
        Operation(f"times {k}", n, n, lambda x: x * k, f"(x) * {k}", f"multiply it by {k}", f"乘以 {k}"),
        Operation(f"plus {k}", n, n, lambda x: x + k, f"x + {k}", f"add {k}", f"加上 {k}"),
        Operation(f"minus {k}", n, n, lambda x: x - k, f"x - {k}", f"subtract {k}", f"减去 {k}"),
        Operation(
            f"at_least {k}", n, n, lambda x: max(x, k), f"max(x, {k})",
            f"replace it by {k} if it is smaller than {k}", f"如果小于 {k} 就换成 {k}",
        ),
        Operation(
            f"mod {k}", n, n, lambda x: x % k, f"(x) % {k}",
            f"take the remainder by {k} (Python's %)", f"求除以 {k} 的余数（Python 的 %）",
        ),
        Operation(
            f"first {k}", t, t, lambda x: x[:k], f"x[:{k}]",
            f"keep its first {k} characters", f"保留前 {k} 个字符",
        ),
        Operation(
            f"repeat {k}", t, t, lambda x: x * k, f"(x) * {k}",
            f"write it {k} times in a row", f"连续写 {k} 遍",
        ),
        Operation(
            f"each_plus {k}", li, li, lambda x: [v + k for v in x], f"[v + {k} for v in x]",
            f"add {k} to every number", f"给每个数加上 {k}",
        ),
        Operation(
            f"each_times {k}", li, li, lambda x: [v * k for v in x], f"[v * {k} for v in x]",
            f"multiply every number by {k}", f"把每个数乘以 {k}",
        ),
        Operation(
            f"above {k}", li, li, lambda x: [v for v in x if v > k], f"[v for v in x if v > {k}]",
            f"keep only the numbers above {k}", f"只保留大于 {k} 的数",
        ),
        Operation(
            f"first_numbers {k}", li, li, lambda x: x[:k], f"x[:{k}]",
            f"keep its first {k} numbers", f"保留前 {k} 个数",
        ),
        Operation(
            f"count_above {k}", li, n, lambda x: sum(v > k for v in x), f"sum(v > {k} for v in x)",
            f"count the numbers above {k}", f"数出大于 {k} 的数的个数",
        ),
    ]  # fmt: skip


OPERATIONS = {
    each.name: each for each in (*_plain(), *(one for k in range(2, 10) for one in _with_number(k)))
}
"""All operations by name."""
