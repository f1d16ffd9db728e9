"""Language consistency: is the language of a question found, is a text consistent with it, and what it costs.

    python -m benchmarks.language [--data FOLDER] [--locale FOLDER] [--quick]

With a folder of mgsm/*.jsonl, math_zh/*.jsonl and olympiad/olymmath.jsonl (rows with `problem` and `lang`):
the share of questions whose language is found, and those that are formulas alone. With gsm8k/test.jsonl the
consistency of its solutions, all English.
With a folder of translations (**/locale/LANG/LC_MESSAGES/django.po, such as an unpacked Django): for each
language that we know, sentences of six words or more, and how consistent they are with their language and
with another of the same script.
"""

import json
import re
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

from aha.data.language import SCRIPTS_OF
from aha.rewards import language
from benchmarks import measure

QUESTIONS = ("mgsm/*.jsonl", "math_zh/*.jsonl", "olympiad/olymmath.jsonl")
SOLUTIONS = {"gsm8k/test.jsonl": "en"}
FOLDERS = {"zh": "zh_Hans", "no": "nb"}
"""Languages whose translations are under another name."""
_WORD = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]{2}|[^\W\d_]{2,}")
ENGLISH = (
    "Let me think about step {0}. The rate is $r_{0} = {0}/7$, so after {0} hours the tank holds "
    "\\(3r + {0}\\) litres of water. Wait, that is not right: the problem says that half of it leaks "
    "before noon. So we need to compute {0} * 2 = {0} and compare both values.\n"
)
CHINESE = (
    "第{0}步，设速度为 $v_{0} = {0}/7$，那么{0}小时以后水箱里有 \\(3v + {0}\\) 升水。等等，不对，"
    "题目说中午以前漏掉了一半，所以要先算 {0} * 2 = {0}，再比较两个数的大小。\n"
)


def questions(path: Path) -> dict[str, Any]:
    """How often the language of a file's questions is found; formulas alone have none."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found = [(row["lang"], language.target(row["problem"]), row["problem"]) for row in rows]
    wordless = [problem for _, lang, problem in found if not lang and not _letters(problem)]
    return {
        "questions": len(rows),
        "right": sum(said == lang for said, lang, _ in found),
        "formulas_alone": len(wordless),
        "wrong": [row for row in found if row[0] != row[1] and row[2] not in wordless],
    }


def _letters(problem: str) -> list[str]:
    return re.findall(r"[^\W\d_]{4,}", language.prose(problem))


def solutions(path: Path, lang: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    shares = [language.consistency(row["solution"], lang) for row in rows]
    known = [share for share in shares if share is not None]
    return {
        "solutions": len(rows),
        "mean": mean(known),
        "least": min(known),
        "below_0.95": sum(share < 0.95 for share in known),
        "no_words": len(rows) - len(known),
    }


def translations(folder: Path, lang: str) -> list[str]:
    """Different sentences of six words or more of a language, without their placeholders."""
    name = FOLDERS.get(lang, lang)
    wanted = "msgid" if lang == "en" else "msgstr"  # English is what the others translate
    files = folder.glob(f"**/locale/{'fr' if lang == 'en' else name}/LC_MESSAGES/django.po")
    texts = [text for path in sorted(files) for text in _entries(path, wanted)]
    plain = [re.sub(r"%\(\w+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>", " ", text) for text in texts]
    return [text for text in dict.fromkeys(plain) if len(_WORD.findall(text)) >= 6]


def _entries(path: Path, wanted: str) -> list[str]:
    """The strings after `wanted` in a file of translations, but for its header."""
    entries: list[list[str]] = []
    inside = False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("msg"):
            inside = line.startswith(wanted)
            if inside:
                entries.append([])
        if inside and (quoted := re.search(r'"(?:[^"\\]|\\.)*"', line)):
            entries[-1].append(json.loads(quoted[0]))
    return ["".join(entry) for entry in entries[1:]]


def sentences(texts: list[str], lang: str) -> dict[str, Any]:
    """How a language's sentences are judged: as their own language, and as the nearest usual one."""
    scripts = SCRIPTS_OF[lang]
    near = {"Latin": ("en", "fr"), "Cyrillic": ("ru", "uk")}.get(scripts[0], ("en", "zh"))
    other = near[0] if lang != near[0] else near[1]
    own = [language.consistency(text, lang) for text in texts]
    foreign = [language.consistency(text, other) for text in texts]
    return {
        "sentences": len(texts),
        "target": mean(language.target(text) == lang for text in texts),
        "own": mean(share for share in own if share is not None),
        "other": other,
        "as_other": mean(share for share in foreign if share is not None),
    }


def costs(rounds: int) -> dict[str, Any]:
    """Microseconds of processor time of one answer of about 400 and 4,000 words, the identifier loaded."""
    found = {}
    for lang, line in (("en", ENGLISH), ("zh", CHINESE)):
        for times in (8, 80):
            text = "".join(line.format(number) for number in range(1, times + 1))
            took = []
            for _ in range(rounds + 1):
                begun = time.process_time()
                share = language.consistency(text, lang)
                took.append(1e6 * (time.process_time() - begun))
                assert share == 1.0, (lang, share)
            words = (
                len(text.split()) if lang == "en" else sum("一" <= sign <= "鿿" for sign in text)
            )
            found[f"{lang}_{words}"] = {
                "words": words,
                "characters": len(text),
                "us": measure.spread(took[1:]),
            }
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = measure.parser(__doc__ or "", rounds=20, model="")
    parser.add_argument("--data", type=Path, help="folder of the problem sets")
    parser.add_argument("--locale", type=Path, help="folder of a program's translations")
    given = parser.parse_args(argv)
    busy = measure.busy()
    begun = time.perf_counter()
    language.target("Which language is this sentence in?")
    result: dict[str, Any] = {
        "claim": "the language of a question is found; thinking is judged by it"
    }
    result |= {"busy": busy["busy"], "load_s": time.perf_counter() - begun}
    result |= {"costs": costs(3 if given.quick else given.rounds)}
    result |= {"questions": {}, "solutions": {}, "languages": {}}
    if given.data:
        for pattern in QUESTIONS:
            for path in sorted(given.data.glob(pattern)):
                name = str(path.relative_to(given.data))
                result["questions"][name] = questions(path)
        for name, lang in SOLUTIONS.items():
            if (given.data / name).exists():
                result["solutions"][name] = solutions(given.data / name, lang)
    if given.locale:
        for lang in (lang for lang in SCRIPTS_OF if lang != "nb"):  # the same as no
            texts = translations(given.locale, lang)
            if len(texts) >= 20:
                print(lang, len(texts), file=sys.stderr)
                result["languages"][lang] = sentences(texts, lang)
    print(shown(result))
    measure.write("language", given, result)
    return result


def shown(result: dict[str, Any]) -> str:
    rows = [
        [name, str(cost["characters"]), measure.shown(cost["us"])]
        for name, cost in result["costs"].items()
    ]
    tables = [measure.table(["thinking", "characters", "us of processor time"], rows)]
    rows = [
        [name, f"{found['right']} of {found['questions']}", str(found["formulas_alone"])]
        for name, found in result["questions"].items()
    ]
    tables += [measure.table(["questions", "found", "formulas alone"], rows)] if rows else []
    rows = [
        [name, str(found["solutions"]), f"{found['mean']:.4f}", f"{found['least']:.2f}"]
        for name, found in result["solutions"].items()
    ]
    tables += [measure.table(["solutions", "rows", "mean", "least"], rows)] if rows else []
    rows = [
        [
            lang,
            str(found["sentences"]),
            f"{found['target']:.3f}",
            f"{found['own']:.3f}",
            f"{found['as_other']:.3f} ({found['other']})",
        ]
        for lang, found in result["languages"].items()
    ]
    head = ["sentences", "number", "target", "own", "as another"]
    tables += [measure.table(head, rows)] if rows else []
    return "\n\n".join(tables)


if __name__ == "__main__":
    main()
