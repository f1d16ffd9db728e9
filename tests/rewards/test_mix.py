"""Weighted rewards, routed by domain; users' functions."""

import json
import math

import pytest

from aha.data.areas import AREAS, area
from aha.errors import ConfigError, RunError
from aha.records import Grade, Prompt, Rendered, Rollout
from aha.rewards.grade import OPEN
from aha.rewards.mix import Lengths, Mix, Tables, check_domains, check_open, overlong_penalty
from aha.rewards.named import REWARDS, Reward

GOOD = "a</think><answer>b</answer>"
RIGHT = Grade(status="correct", score=1.0)
WRONG = Grade(status="wrong", score=0.0)


def rollout(text, sample=0, tokens=(1,)):
    return Rollout(
        prompt_id="p",
        sample=sample,
        token_ids=tuple(tokens),
        logprobs=(0.0,) * len(tokens),
        text=text,
        policy_version=0,
        stopped="eos",
    )


def question(prefill="", **fields):
    prompt = Prompt(**{"id": "p", "question": "What is it?", "gold": "b", **fields})
    return Rendered(prompt=prompt, text="?", token_ids=(1,), prefill=prefill)


def score(mix, text, grade=RIGHT, prefill="", **fields):
    [scored] = mix.score(question(prefill, **fields), [rollout(text)], [grade]).scored
    return scored


def test_reward_is_the_weighted_sum():
    mix = Mix({"accuracy": 1.0, "format": 0.5})
    scored = score(mix, GOOD, prefill="<think>")
    assert scored.parts == {"accuracy": 1.0, "format": 1.0}
    assert scored.reward == 1.5
    assert scored.valid
    wrong = score(mix, "b", WRONG)
    assert (wrong.reward, wrong.valid) == (0.0, True)


def test_the_prefill_counts_for_the_format():
    mix = Mix({"format": 1.0})
    assert score(mix, GOOD, prefill="<think>").reward == 1.0
    assert score(mix, GOOD).reward == 0.0


def test_no_reward_is_known_when_the_grader_failed():
    for status in ("timeout", "error"):
        scored = score(Mix({"accuracy": 1.0, "format": 1.0}), GOOD, Grade(status=status, score=0.0))
        assert (scored.valid, scored.reward) == (False, 0.0)
        assert "accuracy" not in scored.parts


def test_a_failed_grader_does_not_matter_where_accuracy_is_not_rewarded():
    scored = score(Mix({"format": 1.0}), GOOD, Grade(status="error", score=0.0), "<think>")
    assert (scored.valid, scored.reward) == (True, 1.0)


def test_an_unknown_reward_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        Mix({"acuracy": 1.0})
    with pytest.raises(ConfigError, match="did you mean 'format'"):
        Mix(Tables(rewards={"accuracy": 1.0}, by_domain={"code": {"formats": 1.0}}))


def test_tag_names():
    mix = Mix({"format": 1.0}, "思考", "回答")
    assert score(mix, "<思考>a</思考><回答>b</回答>").reward == 1.0


def test_a_prompts_domain_decides_then_its_area_then_the_general_table():
    tables = Tables(
        rewards={"accuracy": 1.0},
        by_domain={"code": {"accuracy": 2.0}, "Algebra": {"accuracy": 3.0}, "helpful": {}},
    )
    mix = Mix(tables)
    assert score(mix, "b", kind="math").reward == 1.0
    assert score(mix, "b", kind="code").reward == 2.0
    assert score(mix, "b", kind="math", domain="Algebra").reward == 3.0
    assert score(mix, "b", kind="code", domain="Algebra").reward == 3.0
    assert score(mix, "b", kind="math", domain="code").reward == 2.0
    nothing = score(mix, "b", domain="helpful")
    assert (nothing.valid, nothing.parts) == (False, {})


def test_a_table_that_no_prompt_has_is_told():
    tables = Tables(rewards={"accuracy": 1.0}, by_domain={"cde": {}, "code": {}, "Algebra": {}})
    prompts = [
        Prompt(id="1", question="?", gold="", kind="code"),
        Prompt(id="2", question="?", gold="1", domain="Algebra"),
    ]
    [said] = check_domains(tables, prompts)
    assert said.startswith("rewards_for.cde")
    assert "code, math" in said


def test_areas():
    kinds = {"math": "math", "exact": "math", "code": "code", "choice": "stem", "gym": "logic"}
    for kind, wanted in kinds.items():
        assert area(Prompt(id="1", question="?", gold="1", kind=kind)) == wanted
    for name in AREAS:
        assert area(Prompt(id="1", question="?", gold="1", kind="code", domain=name)) == name


def test_shorter_right_answers_of_a_group_earn_more():
    mix = Mix({"length": 1.0})
    rollouts = [rollout("x", i, (1,) * n) for i, n in enumerate((10, 20, 30, 10))]
    group = mix.score(question(), rollouts, [RIGHT, RIGHT, RIGHT, WRONG])
    assert [s.reward for s in group.scored] == [0.5, 0.0, -0.5, 0.0]


def test_length_band_and_overlong_penalty():
    mix = Mix({"length_band": 1.0}, lengths=Lengths(low=5, high=10))
    for tokens, wanted in ((5, 0.0), (10, 0.0)):
        [scored] = mix.score(question(), [rollout("x", 0, (1,) * tokens)], [RIGHT]).scored
        assert scored.reward == wanted
    for tokens in (1, 15, 1000):
        [scored] = mix.score(question(), [rollout("x", 0, (1,) * tokens)], [RIGHT]).scored
        assert -1.0 <= scored.reward < 0
    soft = Mix({"accuracy": 1.0}, lengths=Lengths(cap=10, soft=4))
    [scored] = soft.score(question(), [rollout("x", 0, (1,) * 8)], [RIGHT]).scored
    assert scored.parts == {"accuracy": 1.0, "overlong": -0.5}
    assert scored.reward == 0.5
    assert [overlong_penalty(n, 10, 4) for n in (6, 8, 10, 99)] == [0.0, -0.5, -1.0, -1.0]


def test_language_repetition_and_readable_by_name():
    mix = Mix({"language": 1.0})
    thinking = "<think>We add the two numbers and see what comes out of it.</think> 4"
    assert score(mix, thinking, lang="en").reward == 1.0
    assert score(mix, thinking, question="小明有三个苹果，又买了两个，一共有几个？").reward == 0.0
    for lang in ("en", "zh"):  # no word: in no other language
        assert score(mix, "<think>$1+1$</think> 2", lang=lang).parts == {"language": 1.0}
        unknown = score(mix, " \n", lang=lang)
        assert (unknown.parts, unknown.valid) == ({}, False)
    assert score(mix, "<think>1+1. Wait. 2</think> 2", lang="zh").parts == {"language": 0.0}
    hidden = (
        "```\nWe add them and look\n```",
        "`we` `add` `them`",
        "$we add them$",
        "WE ADD SO IT IS",
    )
    for text in hidden:  # words that are not counted beside others are, where there are no others
        assert score(mix, f"<think>{text}</think> 2", lang="zh").parts == {"language": 0.0}, text
        assert score(mix, f"<think>{text}</think> 2", lang="en").parts == {"language": 1.0}, text
    assert score(mix, r"<think>\frac{1}{2} + \sin x</think> 2", lang="zh").reward == 1.0
    assert score(mix, "<think>$1+1$</think> 2", lang="xx").parts == {}  # no language we know
    nothing = score(mix, thinking, question="$1+1$")
    assert (nothing.parts, nothing.valid) == ({}, False)
    [loop] = (
        Mix({"repetition": 1.0}).score(question(), [rollout("x", 0, [1, 2] * 50)], [RIGHT]).scored
    )
    assert -1.0 <= loop.reward < -0.5
    ended = rollout("x", 0, [*[1, 2] * 50, 0])
    assert ended.stopped == "eos"
    [bought_off] = Mix({"repetition": 1.0}).score(question(), [ended], [RIGHT]).scored
    assert bought_off.reward == pytest.approx(loop.reward, abs=0.01)
    assert score(Mix({"readable": 1.0}), thinking, lang="en").reward == 1.0
    fenced = "<think>We run it:\n```python\nprint(1)\n```\nand see.</think> 4"
    assert score(Mix({"readable": 1.0}), fenced, lang="en").reward == 0.0


def test_every_named_reward_takes_any_text():
    mix = Mix(dict.fromkeys(REWARDS, 1.0))
    for text in ("", "\ud800", "\0", "<think>", "</think>" * 50, "🙂" * 1000, "$" * 999):
        scored = score(mix, text, WRONG)
        assert all(math.isfinite(value) for value in scored.parts.values())


# -- users' functions ---------------------------------------------------------------------------------

FUNCTIONS = """
def short(completions, **kwargs):
    return [1.0 if len(text) < 5 else 0.0 for text in completions]

def like_trl(prompts, completions, completion_ids, solution, level, **kwargs):
    assert len(prompts) == len(completions) == len(completion_ids) == len(solution) == len(level)
    return [float(s in text) for text, s in zip(completions, solution)]

def chat(prompts, completions, **kwargs):
    assert prompts[0][-1]["role"] == "user"
    return [len(completion[0]["content"]) for completion in completions]

def only_what_it_names(completions, gold):
    return [text == right for text, right in zip(completions, gold)]

def sometimes(completions, **kwargs):
    return [None if "skip" in text else 0.25 for text in completions]

async def slowly(completions, **kwargs):
    return [0.5] * len(completions)

def nan(completions, **kwargs):
    return [float("nan")] * len(completions)

def too_few(completions, **kwargs):
    return [1.0]

def raises(completions, **kwargs):
    return [1 / 0]
"""


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return lambda name: f"{path}:{name}"


def both(mix, *texts, **fields):
    rollouts = [rollout(text, i, (7, 8)) for i, text in enumerate(texts)]
    return mix.score(question(**fields), rollouts, [RIGHT] * len(texts)).scored


def test_a_function_of_the_user(functions):
    mix = Mix({functions("short"): 2.0, "accuracy": 1.0})
    assert [s.reward for s in both(mix, "abc", "abcdef")] == [3.0, 1.0]


def test_a_function_written_for_trl(functions):
    mix = Mix({functions("like_trl"): 1.0})
    scored = both(mix, "it is 42", "41", gold="42", columns={"level": 3})
    assert [s.reward for s in scored] == [1.0, 0.0]


def test_messages_with_the_chat_template(functions):
    mix = Mix({functions("chat"): 1.0}, style="messages")
    assert [s.reward for s in both(mix, "abc", "abcdef")] == [3.0, 6.0]


def test_without_keywords_it_gets_what_it_names_and_may_be_async(functions):
    mix = Mix({functions("only_what_it_names"): 1.0, functions("slowly"): 1.0})
    assert [s.reward for s in both(mix, "42", "41", gold="42")] == [1.5, 0.5]


def test_none_is_not_a_reward_of_zero(functions):
    mix = Mix({functions("sometimes"): 1.0})
    known, unknown = both(mix, "x", "skip")
    assert (known.reward, known.valid) == (0.25, True)
    assert (unknown.parts, unknown.valid) == ({}, False)


@pytest.mark.parametrize(
    "name, said",
    [("nan", "finite number"), ("too_few", "2 answers"), ("raises", "ZeroDivisionError")],
)
def test_a_function_that_fails_stops_with_its_name(functions, name, said):
    with pytest.raises(RunError, match=said) as error:
        both(Mix({functions(name): 1.0}), "a", "b")
    assert name in str(error.value)


def test_a_function_that_is_not_there(functions, tmp_path):
    with pytest.raises(ConfigError, match="no file at"):
        Mix({f"{tmp_path}/none.py:f": 1.0})
    with pytest.raises(ConfigError, match=r"no function 'shrt' \(its functions: short"):
        Mix({functions("shrt"): 1.0})
    with pytest.raises(ConfigError, match="cannot be imported: ModuleNotFoundError"):
        Mix({"no_such_module_here:f": 1.0})
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ConfigError, match="SyntaxError"):
        Mix({f"{tmp_path}/broken.py:f": 1.0})


def test_what_a_function_gets_is_plain(functions, tmp_path):
    seen = tmp_path / "seen.json"
    path = tmp_path / "look.py"
    path.write_text(
        "import json\n"
        "def look(**given):\n"
        f"    open({str(seen)!r}, 'w').write(json.dumps(given))\n"
        "    return [0.0]\n"
    )
    both(Mix({f"{path}:look": 1.0}), "abc", gold="42", kind="math", columns={"level": 3})
    given = json.loads(seen.read_text())
    assert given["completions"] == ["abc"]
    assert given["completion_ids"] == [[7, 8]]
    assert given["answer"] == given["solution"] == given["gold"] == ["42"]
    assert given["level"] == [3]
    assert given["prompts"] == given["question"] == ["What is it?"]


# -- prompts without a right answer, and preference rewards that come later ------------------------------

LIKED = {"liked": Reward(lambda judged: float(len(judged.text)))}


def test_where_nothing_can_be_right_accuracy_pays_nothing_and_the_rest_does():
    mix = Mix({"accuracy": 1.0, "format": 0.5, "liked": 0.1}, more=LIKED)
    scored = score(mix, GOOD, OPEN, prefill="<think>", kind="open")
    assert scored.parts == {"format": 1.0, "liked": len("<think>" + GOOD)}
    assert scored.valid
    only = score(Mix({"accuracy": 1.0}), GOOD, OPEN, kind="open")
    assert (only.valid, only.parts) == (False, {})  # no reward of 0: no reward


def test_where_nothing_can_be_right_a_short_answer_is_not_a_wrong_one():
    mix = Mix({"length": 1.0})
    rollouts = [rollout("a", 0, [1]), rollout("b", 1, [1] * 3)]
    group = mix.score(question(kind="open"), rollouts, [OPEN, OPEN])
    assert [s.reward for s in group.scored] == [0.5, -0.5]  # as for two right ones


def test_before_preference_rewards_count_they_are_not_asked_for():
    asked = []

    def liked(judged):
        asked.append(judged.text)
        return 5.0

    tables = Tables(rewards={"accuracy": 1.0}, by_domain={"helpful": {"liked": 1.0, "format": 0.5}})
    mix = Mix(tables, more={"liked": Reward(liked)})
    early = mix.without({"liked"})
    for kind in ("math", "open"):
        scored = score(early, GOOD, RIGHT, prefill="<think>", domain="helpful", kind=kind)
        assert (scored.parts, scored.reward, asked) == ({"format": 1.0}, 0.5, [])
    assert score(early, GOOD).reward == 1.0  # other problems: as ever
    full = score(mix, GOOD, RIGHT, prefill="<think>", domain="helpful")
    assert (full.parts, len(asked)) == ({"liked": 5.0, "format": 1.0}, 1)


def test_an_opinion_that_there_is_none_of_is_no_opinion_of_zero():
    """Scores are about -6: an answer that could not be scored must not be the best of its group."""
    scores = {"a": -6.0, "b": None}
    liked = Reward(lambda judged: scores[judged.rollout.text[0]])
    mix = Mix({"liked": 1.0, "format": 1.0}, more={"liked": liked})
    known, unknown = (score(mix, text + GOOD[1:], prefill="<think>") for text in "ab")
    assert (known.reward, known.valid) == (-5.0, True)
    assert (unknown.parts, unknown.valid) == ({"format": 1.0}, False)
    watched = Mix({"liked": 0.0, "format": 1.0}, more={"liked": liked})
    assert score(watched, "b" + GOOD[1:], prefill="<think>").valid  # it is not paid


def test_open_prompts_that_earn_nothing_are_refused_and_form_alone_is_told():
    def prompts(*domains):
        return [Prompt(id=d, question="?", gold="", kind="open", domain=d) for d in domains]

    tables = Tables(
        rewards={"accuracy": 1.0, "format": 1.0},
        by_domain={"helpful": {"liked": 1.0}, "harmless": {"accuracy": 1.0, "format": 0.0}},
    )
    assert check_open(tables, prompts("helpful")) == []
    [said] = check_open(tables, prompts("helpful", "general"))
    assert "area general earn only accuracy, format" in said
    with pytest.raises(ConfigError, match=r"only accuracy is paid.*rewards_for\.harmless"):
        check_open(tables, prompts("harmless"))
    assert check_open(tables, [Prompt(id="p", question="?", gold="1", domain="harmless")]) == []
