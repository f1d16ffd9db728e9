"""Functions of answers called from outside: honest answers pass, cheating does not."""

import pytest

from aha.errors import RunError
from aha.sandbox.box import Sandbox
from aha.sandbox.calls import PRELUDE, CallFailed, Calls, needed, run_tests
from aha.sandbox.plain import NotPlain
from aha.sandbox.types import Limits


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox(slots=2)
    except RunError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def calls(sandbox):
    opened = []

    def make(source, **more):
        opened.append(Calls(sandbox, source, **more))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_values_go_in_and_come_out(calls):
    add = calls("def add(a, b=1): return a + b")
    assert add.call("add", (1, 2)) == 3
    assert add.call("add", ([1],), {"b": [2]}) == [1, 2]
    assert add.call("add", ("é",), {"b": "ü"}) == "éü"
    assert add.calls == 3


def test_arguments_are_changed_as_the_function_changed_them(calls):
    sort = calls("def sort(x): x.sort()\ndef put(d): d['a'] = 1")
    numbers, table = [3, 1, 2], {}
    assert sort.call("sort", (numbers,)) is None
    assert numbers == [1, 2, 3]
    sort.call("put", (table,))
    assert table == {"a": 1}


def test_printing_and_reading_disturb_nothing(calls):
    noisy = calls("print('at load')\ndef f(x):\n    print('{\"value\": 5}', x)\n    return x\n")
    assert noisy.call("f", (7,)) == 7


def test_objects_stay_inside(calls):
    solution = calls("class Solution:\n    def twice(self, x): return 2 * x\n    y = 5")
    handle = solution.call("Solution")
    assert solution.call((handle.number, "twice"), (4,)) == 8
    assert solution.get((handle.number, "y")) == 5


FAILS = {
    "no python": ("def f(:", "compile"),
    "raises when loaded": ("1 / 0", "failed"),
    "ends when loaded": ("import os; os._exit(0)", "failed"),
    "exits when loaded": ("import sys; sys.exit(0)", "failed"),
    "never loaded": ("while True: pass", "timeout"),
    "raises": ("def f(): raise ValueError('no')", "failed"),
    "exits": ("def f(): exit(0)", "failed"),
    "leaves": ("import os\ndef f(): os._exit(0)", "failed"),
    "hangs": ("def f():\n    while True: pass", "timeout"),
    "is missing": ("def g(): pass", "failed"),
    "is no function": ("f = 3", "failed"),
    "has an endless message": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef f(): raise E",
        "timeout",
    ),
    "an endless generator": ("def f():\n    while True: yield 1", "failed"),
}


@pytest.mark.parametrize("name", FAILS)
def test_answers_that_fail(calls, name):
    source, status = FAILS[name]
    with pytest.raises(CallFailed) as caught:
        calls(source, seconds=2.0, limits=Limits(seconds=6.0)).call("f")
    assert caught.value.status == status


def test_an_integer_that_is_always_equal_stays_inside(calls):
    source = "class A(int):\n    def __eq__(self, o): return True\ndef f(): return A()"
    assert type(calls(source).call("f")).__name__ == "Handle"


def test_arguments_that_cannot_go_in_are_our_failure(calls):
    f = calls("def f(x): return x")
    with pytest.raises(NotPlain):
        f.call("f", (object(),))
    assert f.call("f", (1,)) == 1


TESTS = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) == 0\n"


def verdict(calls, source, code=TESTS, **more):
    try:
        with calls(source, seconds=2.0) as opened:
            run_tests(opened, code, entry="add", **more)
    except AssertionError:
        return "wrong"
    except CallFailed as error:
        return error.status
    return "right"


def test_right_and_wrong(calls):
    assert verdict(calls, "def add(a, b): return a + b") == "right"
    assert verdict(calls, "def add(a, b): return a - b") == "wrong"
    asserts = "assert add(1, 2) == 3\nassert add(2, 2) == 4"
    assert verdict(calls, "def add(a, b): return a + b", asserts) == "right"
    assert verdict(calls, "def add(a, b): return 3", asserts) == "wrong"


CHEATS = {
    "always equal": "class A:\n    def __eq__(self, o): return True\ndef add(a, b): return A()",
    "an integer always equal": "class A(int):\n    __eq__ = lambda s, o: True\n"
    "def add(a, b): return A(9)",
    "a list always equal": "class A(list):\n    __eq__ = lambda s, o: True\ndef add(a, b): return A()",
    "true for one": "def add(a, b): return True",
    "exit with success": "import os\ndef add(a, b): os._exit(0)",
    "system exit": "def add(a, b): raise SystemExit(0)",
    "assertions off": "import sys\nsys.flags = None\n__debug__ = 1\ndef add(a, b): return 4",
    "a check of its own": "def check(candidate): pass\ndef add(a, b): return 4",
    "frames": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f: f.f_globals['same'] = "
    "lambda *a: True; f = f.f_back\n    return 4",
    "patched json": 'import json\njson.dumps = lambda *a, **k: \'{"value": {"i": "0x3"}, '
    '"after": []}\'\ndef add(a, b): return 4',
    "the expected value on the heap": "import gc\ndef add(a, b):\n"
    "    return next((o for o in gc.get_objects() if o == 3 and type(o) is int), 4)",
    "an answer for every line": "import os\nfor fd in range(3, 20):\n"
    "    try: os.write(fd, b'{\"ready\": true}\\n' * 9)\n    except OSError: pass\n"
    "def add(a, b): return 4",
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_are_not_paid(calls, name):
    assert verdict(calls, CHEATS[name]) != "right"


def test_setup_is_trusted_and_runs_outside(calls):
    setup = "def double(x): return 2 * x\ndef add(a, b): 'a stub'\n"
    code = "assert double(add(1, 2)) == 6"
    good = "def add(a, b): return a + b\ndef double(x): return 6"
    assert verdict(calls, good, code, setup=setup) == "right"
    assert (
        verdict(calls, "def add(a, b): return 5\ndef double(x): return 6", code, setup=setup)
        == "wrong"
    )


def test_classes_of_the_answer_in_its_tests(calls):
    source = (
        "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
        "def longest(pairs): return max(p.b - p.a for p in pairs)\n"
    )
    code = "assert longest([Pair(1, 4), Pair(2, 9)]) == 7\np = Pair(1, 2)\nassert p.a == 1"
    with calls(source) as opened:
        run_tests(opened, code, entry="longest")


def test_methods_of_a_solution(calls):
    source = "class Solution:\n    def add(self, a: int, b: List[int]) -> int: return a + sum(b)"
    code = "def check(candidate):\n    assert candidate(a = 1, b = [2, 3]) == 6\n\n"
    with calls(source) as opened:
        run_tests(opened, code + "check(Solution().add)")
    with calls(source) as opened:
        run_tests(opened, "assert candidate(1, [2]) == 3", entry="Solution.add")


def test_the_usual_names_are_there(calls):
    source = "def f(x): return pow(2, x, 7), gcd(4, 6), Counter('aa')['a'], heappop([3]), inf"
    assert calls(source).call("f", (5,)) == (4, 2, 2, 3, float("inf"))


def test_a_builtin_is_the_answers_only_if_the_tests_ask_for_nothing_else(sandbox):
    source = "def sum(a, b):\n    return a * b\n"
    with Calls(sandbox, source) as calls:
        run_tests(calls, "assert sum(3, 5) == 15")
    cheat = (
        "def f(x):\n    return 1\ndef sorted(x):\n    return Same()\n"
        "class Same:\n    def __eq__(self, other):\n        return True\n"
    )
    with Calls(sandbox, cheat) as calls, pytest.raises(AssertionError):
        run_tests(calls, "assert sorted([f(2)]) == [4]")


def test_test_code_may_set_attributes_of_objects_inside(sandbox):
    source = (
        "class Node:\n    def __init__(self, v):\n        self.v, self.left = v, None\n"
        "def depth(n):\n    return 0 if n is None else 1 + depth(n.left)\n"
    )
    tests = "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert depth(root) == 3"
    with Calls(sandbox, source) as calls:
        run_tests(calls, tests)


def test_names_that_answers_may_use_are_not_answers(sandbox):
    """`gcd` is there to be used; an answer that does not define it has not written it."""
    tests = "assert gcd(12, 18) == 6"
    with Calls(sandbox, "") as calls, pytest.raises(CallFailed):
        run_tests(calls, tests)
    with Calls(sandbox, "from math import gcd") as calls:
        run_tests(calls, tests)
    with Calls(sandbox, "def f(x):\n    return gcd(x, 18) + max(1, 2)") as calls:
        run_tests(calls, "assert f(12) == 8")


@pytest.mark.parametrize(
    "source, value",
    [
        ("def f(x):\n    return Counter(x).most_common(1)[0][0]", "b"),
        ("def f(x: List[str]) -> str:\n    return sorted(x)[-1]", "c"),
        ("def f(x):\n    return math.floor(pi) * len(x)", 12),
        ("def f(x):\n    return re.sub('b', '', ''.join(x))", "ac"),
        ("def f(x):\n    return reduce(lambda a, b: a + b, x)", "abbc"),
        ("def f(x):\n    return eval('gcd')(12, 18)", 6),
        ("def f(x):\n    return pow(2, 5, 7)", 4),  # Python's own, not that of math
    ],
)
def test_only_what_a_program_names_is_imported_for_it(sandbox, source, value):
    with Calls(sandbox, source) as calls:
        assert calls.call("f", (["a", "b", "b", "c"],)) == value


def test_a_program_that_needs_nothing_gets_nothing():
    assert needed("def f(a, b):\n    return a + b").strip() == ""
    assert needed("def f(x):\n    return sqrt(x)").strip() == "from math import *"
    assert "from builtins import *" in needed("def f(x):\n    return pow(x, 2)")
    assert needed("eval('x')") == PRELUDE
