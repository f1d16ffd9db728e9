import copy
import functools
from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.errors import DoesNotFit
from aha.rollout.engine import SamplingParams
from aha.rollout.local import engine as module
from aha.rollout.local.cache import MIN_ROWS
from aha.rollout.local.engine import LocalEngine

PROMPTS = {
    "a": [5, 6, 7],
    "b": [8],
    "c": [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
    "d": [40, 41],
    "e": [7, 6, 5, 50, 60, 70],
    "f": [9, 9, 9, 9],
}
EOS = (3, 30, 31, 32, 33)
DRAWN = SamplingParams(max_tokens=16, temperature=0.9, stream=(1, "zero", 4))


def cache_bytes(engine):
    cache = engine._cache
    rooms = (cache.own_k, cache.own_v, cache.prefix_k, cache.prefix_v)
    return sum(t.numel() * t.element_size() for room in rooms for t in room)


def agree(architecture, name, got, want, temperature=0.9):
    """Tokens that two schedules drew: equal, or parted where the uniform met a border of tokens."""
    for t, (a, b) in enumerate(zip(got, want, strict=False)):
        if a != b:
            stream = (*DRAWN.stream, *name, 0)
            model, prompt = tiny.policy(architecture).model, PROMPTS[name[0]]
            assert tiny.edge(model, prompt, want[:t], stream, temperature) < 2e-6, (name, t)
            return False
    assert len(got) == len(want), name
    return True


def same(got, want, architecture="llama"):
    assert got.keys() == want.keys()
    for name, rollout in want.items():
        if agree(architecture, name, got[name].token_ids, rollout.token_ids):
            assert (got[name].stopped, got[name].text) == (rollout.stopped, rollout.text)
            assert got[name].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)


@functools.cache
def one_by_one(architecture, params=DRAWN, n=6):
    """Every answer decoded alone: one slot, one group in the engine at a time."""
    out = {}
    for prompt_id, ids in PROMPTS.items():
        engine = LocalEngine(
            tiny.policy(architecture), eos_ids=EOS, decode=str, budget_bytes=1 << 30, max_rows=1
        )
        engine.submit(prompt_id, ids, n, params)
        while engine.pending():
            assert len(engine._live) <= 1
            for rollout in engine.step():
                out[prompt_id, rollout.sample] = rollout
    return out


# -- against references that know no engine --------------------------------------------------------


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_greedy_equals_generate_of_transformers(architecture, new_engine, drain):
    engine = new_engine(architecture, eos=EOS)
    for prompt_id, ids in PROMPTS.items():
        engine.submit(prompt_id, ids, 1, SamplingParams(max_tokens=14, temperature=0))
    got = drain(engine)
    with tiny.plain(tiny.policy(architecture).model) as model:
        for prompt_id, ids in PROMPTS.items():
            want = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=14,
                do_sample=False,
                eos_token_id=list(EOS),
                pad_token_id=0,
            )
            assert got[prompt_id, 0].token_ids == tuple(want[0, len(ids) :].tolist())


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_samples_equal_a_loop_that_recomputes_everything(architecture, new_engine, drain):
    policy = tiny.policy(architecture)
    engine = new_engine(architecture, eos=EOS)
    for prompt_id in "abc":
        engine.submit(prompt_id, PROMPTS[prompt_id], 4, DRAWN)
    got = drain(engine)
    for (prompt_id, sample), rollout in got.items():
        want = tiny.slow_answer(
            policy.model,
            PROMPTS[prompt_id],
            (1, "zero", 4, prompt_id, sample, 0),
            cap=16,
            temperature=0.9,
            eos=EOS,
        )
        if not agree(architecture, (prompt_id, sample), rollout.token_ids, want):
            continue
        ended = rollout.token_ids[-1] in EOS
        assert rollout.stopped == ("eos" if ended else "length")
        assert ended or len(want) == 16
        shown = want[:-1] if ended else want
        assert rollout.text == "".join(chr(0x100 + i) for i in shown)
        logp = tiny.slow_logprobs(policy.model, PROMPTS[prompt_id], want, 0.9).detach()
        torch.testing.assert_close(
            torch.tensor(rollout.logprobs, dtype=torch.float64), logp, atol=1e-5, rtol=1e-5
        )
    assert len(got) == 12
    assert {r.stopped for r in got.values()} == {"eos", "length"}
    assert len({r.token_ids for r in got.values()}) > 8  # samples of a group differ


@pytest.mark.parametrize("architecture", ["qwen3", "deepseek_v3_narrow"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_scores_equal_whole_forward_passes(architecture, temperature, new_engine, monkeypatch):
    policy = tiny.policy(architecture)
    prompts = [*PROMPTS.values()] * 2
    answers = [[4 + i] * (1 + i % 7) for i in range(11)] + [[]]
    for budget in (4096, 20, 1):
        monkeypatch.setattr(module, "PREFILL_TOKENS", budget)
        got = new_engine(policy).score(prompts, answers, temperature=temperature)
        for prompt, answer, scores in zip(prompts, answers, got, strict=True):
            want = tiny.slow_logprobs(policy.model, prompt, answer, temperature).tolist()
            assert scores == pytest.approx(want, abs=2e-5)


# -- an answer is the same, whoever decodes beside it -----------------------------------------------


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("max_rows", [3, 256])
def test_an_answer_is_the_same_alone_and_in_a_crowd(architecture, max_rows, new_engine, drain):
    for order in (list(PROMPTS), list(PROMPTS)[::-1]):
        engine = new_engine(architecture, eos=EOS, decode=str, max_rows=max_rows)
        for prompt_id in order:
            engine.submit(prompt_id, PROMPTS[prompt_id], 6, DRAWN)
        same(drain(engine), one_by_one(architecture), architecture)


@pytest.mark.parametrize("slots", [1, 2, 5, 9])
def test_answers_wait_for_a_small_budget_and_refill_slots(slots, new_engine, drain):
    token = new_engine()._token_shape().token_bytes
    answer, prompt = 15 * token, 11 * token  # the last token's keys are never read
    budget = int((slots + MIN_ROWS) * answer + (1 + slots * module.PLACES / 6) * prompt) + 1
    engine = new_engine(eos=EOS, decode=str, budget=budget)
    for prompt_id in PROMPTS:
        engine.submit(prompt_id, PROMPTS[prompt_id], 6, DRAWN)
    live = []

    def check(engine):
        assert cache_bytes(engine) <= budget
        assert engine._cache.slots == slots
        live.append(len(engine._live))

    got = drain(engine, check)
    same(got, one_by_one("llama"))
    assert max(live) <= slots
    # a freed slot is refilled at once: all slots are busy until the last answer has started
    work = sum(len(rollout.token_ids) - 1 for rollout in got.values())
    assert len(live) <= work / slots + 16


def test_the_last_answers_of_a_group_do_not_keep_slots_empty(new_engine, drain):
    # lengths of 1 to 60, mean 8: most groups have one answer that goes on long after the others
    engine = new_engine(Geometric(), eos=(0,), max_rows=16)
    for number in range(24):
        params = replace(DRAWN, max_tokens=60, temperature=1.0)
        engine.submit(str(number), [5] * (1 + number % 3), 8, params)
    steps = []
    got = drain(engine, lambda e: steps.append(len(e._live)))
    work = sum(len(rollout.token_ids) - 1 for rollout in got.values())
    longest = max(len(rollout.token_ids) for rollout in got.values())
    assert len(steps) <= work / 16 + longest


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_schedule_gives_the_same_answers(new_engine, drain, data):
    """Random groups, caps, budgets and moments of submission against one-by-one decoding."""
    alone = one_by_one("llama")
    groups = data.draw(
        st.lists(
            st.tuples(st.sampled_from(list(PROMPTS)), st.integers(1, 6), st.integers(1, 16)),
            min_size=1,
            max_size=6,
            unique_by=lambda group: group[0],
        )
    )
    token = new_engine()._token_shape().token_bytes
    least = (MIN_ROWS + 1) * 15 * token + 11 * token
    engine = new_engine(
        eos=EOS,
        decode=str,
        budget=least + data.draw(st.integers(0, 40)) * 8 * token,
        max_rows=data.draw(st.integers(1, 20)),
    )
    got, cap = {}, {}
    for prompt_id, n, max_tokens in groups:
        cap[prompt_id] = max_tokens
        engine.submit(prompt_id, PROMPTS[prompt_id], n, replace(DRAWN, max_tokens=max_tokens))
        for _ in range(data.draw(st.integers(0, 4))):  # others come while these decode
            got |= {(r.prompt_id, r.sample): r for r in engine.step()}
            assert not engine._cache or cache_bytes(engine) <= engine.budget
    got |= drain(engine)
    assert got.keys() == {(p, i) for p, n, _ in groups for i in range(n)}
    for (prompt_id, sample), rollout in got.items():
        whole = alone[prompt_id, sample].token_ids
        whole = whole[: cap[prompt_id]]  # a lower cap cuts, and does nothing else
        if agree("llama", (prompt_id, sample), rollout.token_ids, whole):
            want = alone[prompt_id, sample].logprobs[: cap[prompt_id]]
            assert rollout.logprobs == pytest.approx(want, abs=1e-5)


def test_answers_with_different_parameters_share_a_step(new_engine, drain):
    kinds = {
        "a": SamplingParams(max_tokens=12, temperature=0),
        "b": replace(DRAWN, max_tokens=16),
        "c": replace(DRAWN, temperature=0.6, top_p=0.7),
        "d": replace(DRAWN, temperature=1.4, top_k=5, max_tokens=9),
        "e": replace(DRAWN, temperature=0.9, stream=(2,)),
        "f": replace(DRAWN, forced=(DRAWN.max_tokens,)),
    }
    crowd = new_engine(eos=EOS)
    want = {}
    for prompt_id, params in kinds.items():
        crowd.submit(prompt_id, PROMPTS[prompt_id], 3, params)
        single = new_engine(eos=EOS)
        single.submit(prompt_id, PROMPTS[prompt_id], 3, params)
        want |= drain(single)
    same(drain(crowd), want)
    assert len({want["a", i].token_ids for i in range(3)}) == 1  # greedy: all the same
    assert {want["f", i].stopped for i in range(3)} == {"length"}
    assert {len(want["f", i].token_ids) for i in range(3)} == {16}
    for i in range(3):  # no token outside of the five likeliest, whatever the temperature
        rollout = want["d", i]
        prompt = PROMPTS["d"]
        with tiny.plain(tiny.policy("llama").model) as model, torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *rollout.token_ids]])).logits[0]
        best = logits[len(prompt) - 1 : -1].topk(5).indices
        assert all(t in row for t, row in zip(rollout.token_ids, best.tolist(), strict=True))


def test_the_random_stream_has_a_name(new_engine, drain):
    def tokens(prompt_id="a", stream=(1, "zero", 4), attempt=0):
        engine = new_engine(eos=EOS)
        params = replace(DRAWN, stream=stream)
        engine.submit(prompt_id, PROMPTS["a"], 3, params, attempt=attempt)
        rollouts = list(drain(engine).values())
        assert {r.attempt for r in rollouts} == {attempt}
        return {r.sample: r.token_ids for r in rollouts}

    assert tokens() == tokens()
    for other in (tokens("x"), tokens(stream=(1, "zero", 5)), tokens(attempt=1)):
        assert tokens() != other


# -- memory ------------------------------------------------------------------------------------------


def test_what_can_never_fit_says_what_to_change(new_engine):
    token = new_engine()._token_shape().token_bytes
    need = (MIN_ROWS + 1) * 15 * token + 3 * token
    tight = new_engine(budget=need)
    tight.submit("a", PROMPTS["a"], 4, DRAWN)
    tight.step()
    assert tight._cache.slots == 1
    assert cache_bytes(tight) <= need
    small = new_engine(budget=need - 1)
    small.submit("a", PROMPTS["a"], 4, DRAWN)
    with pytest.raises(DoesNotFit, match=r"16 tokens after a prompt of 3.*lower max_answer_tokens"):
        small.step()


def test_groups_that_fit_one_after_the_other_are_not_refused(new_engine, drain):
    # a long prompt with a short answer, and a short prompt with a long one
    token = new_engine()._token_shape().token_bytes
    budget = (MIN_ROWS + 1) * 30 * token + 10 * token
    engine = new_engine(eos=(), budget=budget)
    engine.submit("long prompt", [5 + i for i in range(80)], 2, replace(DRAWN, max_tokens=4))
    engine.submit("long answer", [5, 6], 2, replace(DRAWN, max_tokens=31))
    engine.submit("another", [7, 6, 8], 2, replace(DRAWN, max_tokens=20))
    got = drain(engine, lambda e: cache_bytes(e) <= budget or pytest.fail("above the budget"))
    assert [len(got[name].token_ids) for name in sorted(got)] == [20, 20, 31, 31, 4, 4]


def test_a_prompt_longer_than_the_cache_waits_for_a_new_layout(new_engine, drain):
    engine = new_engine(eos=(), decode=str)
    engine.submit("a", PROMPTS["a"], 2, DRAWN)
    engine.step()
    first = engine._cache
    long = [5 + i % 80 for i in range(120)]
    engine.submit("long", long, 2, replace(DRAWN, max_tokens=20))
    got = drain(engine)
    assert engine._cache is not first
    for i in range(2):
        want = tiny.slow_answer(
            tiny.policy("llama").model,
            long,
            (1, "zero", 4, "long", i, 0),
            cap=20,
            temperature=0.9,
            eos=(),
        )
        assert list(got["long", i].token_ids) == want
        assert len(got["a", i].token_ids) == 16


def test_prompts_are_computed_in_portions(new_engine, drain, monkeypatch):
    monkeypatch.setattr(module, "PREFILL_TOKENS", 6)
    sizes = []
    hidden = module.Policy.hidden

    def spy(self, ids, positions, layout):
        if isinstance(layout, module.PrefillLayout):
            sizes.append([s.length for s in layout.segments])
        return hidden(self, ids, positions, layout)

    monkeypatch.setattr(module.Policy, "hidden", spy)
    engine = new_engine(eos=EOS, decode=str)
    for prompt_id in PROMPTS:
        engine.submit(prompt_id, PROMPTS[prompt_id], 6, DRAWN)
    same(drain(engine), one_by_one("llama"))
    # each prompt once for its six answers; more than six tokens only if the prompt itself has them
    assert sizes == [[3, 1], [11], [2], [6], [4]]


def test_a_prompt_above_the_portion(new_engine, drain):
    prompt = [3 + (i * i + i // 7) % 90 for i in range(module.PREFILL_TOKENS + 100)]
    engine = new_engine(eos=())
    engine.submit("long", prompt, 2, replace(DRAWN, max_tokens=3))
    engine.submit("b", PROMPTS["b"], 1, replace(DRAWN, max_tokens=3))
    got = drain(engine)
    for i in range(2):
        rollout = got["long", i]
        logp = tiny.slow_logprobs(tiny.policy("llama").model, prompt, rollout.token_ids, 0.9)
        assert list(rollout.logprobs) == pytest.approx(logp.tolist(), abs=1e-4)


# -- how answers end ---------------------------------------------------------------------------------


class Scripted(torch.nn.Module):
    """Writes table[t] after token t, whatever came before."""

    def __init__(self, table, vocabulary=64):
        super().__init__()
        self.table, self.vocabulary = table, vocabulary
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def hidden(self, token_ids, positions, layout):
        zeros = torch.zeros(1, 1, token_ids.shape[1], 2)
        layout.attend(0, zeros, zeros, zeros, 1.0)
        return token_ids[0, :, None]

    def logits(self, hidden):
        following = torch.tensor([self.table.get(t, 0) for t in hidden[:, 0].tolist()])
        return 60.0 * torch.nn.functional.one_hot(following, self.vocabulary).float()


class Geometric(Scripted):
    """Ends with probability 1/8 after every token."""

    def __init__(self):
        super().__init__({}, vocabulary=2)

    def logits(self, hidden):
        return torch.tensor([0.125, 0.875]).log().expand(len(hidden), -1)


COUNT = Scripted({t: t + 1 for t in range(63)})  # prompt [.., t] is answered t+1, t+2, ...
UNTIL_EOS = SamplingParams(max_tokens=50, temperature=0)


def test_any_end_of_sequence_token_ends_an_answer(new_engine, drain):
    engine = new_engine(COUNT, eos=(20, 40))
    for last in (10, 19, 25, 39):
        engine.submit(str(last), [0, last], 2, UNTIL_EOS)
    got = drain(engine)
    for last, end in ((10, 20), (19, 20), (25, 40), (39, 40)):
        rollout = got[str(last), 1]
        assert rollout.token_ids == tuple(range(last + 1, end + 1))
        assert rollout.stopped == "eos"
        assert rollout.text == "".join(chr(0x100 + t) for t in range(last + 1, end))
        assert rollout.logprobs == pytest.approx([0.0] * len(rollout.token_ids), abs=1e-5)


@pytest.mark.parametrize("n, max_rows", [(1, 256), (7, 2), (40, 8)])
def test_one_token_answers_never_need_a_decoding_step(n, max_rows, new_engine, drain):
    engine = new_engine(COUNT, eos=(20,), max_rows=max_rows)
    engine.submit("a", [9], n, replace(UNTIL_EOS, max_tokens=1))
    engine.submit("b", [19], n, UNTIL_EOS)
    ended = engine.step()
    assert not engine.pending()
    assert len(ended) == 2 * n
    by_id = {r.prompt_id: r for r in ended}
    assert (by_id["a"].token_ids, by_id["a"].stopped, by_id["a"].text) == ((10,), "length", "Ċ")
    assert (by_id["b"].token_ids, by_id["b"].stopped, by_id["b"].text) == ((20,), "eos", "")


def test_cap_and_end_of_sequence_in_the_same_token(new_engine, drain):
    engine = new_engine(COUNT, eos=(20,))
    engine.submit("a", [10], 1, replace(UNTIL_EOS, max_tokens=10))
    engine.submit("b", [10], 1, replace(UNTIL_EOS, max_tokens=9))
    engine.submit("forced", [10], 1, replace(UNTIL_EOS, max_tokens=15, forced=(15,)))
    got = drain(engine)
    assert got["a", 0].stopped == "eos"
    assert (got["b", 0].stopped, got["b", 0].token_ids[-1]) == ("length", 19)
    assert got["forced", 0].token_ids == tuple(range(11, 26))
    assert got["forced", 0].stopped == "length"
    assert len(got["forced", 0].text) == 15


def test_forced_lengths_go_by_sample(new_engine, drain):
    engine = new_engine(COUNT, eos=(20,))
    engine.submit("a", [10], 5, replace(UNTIL_EOS, max_tokens=15, forced=(3, 15)))
    got = drain(engine)
    assert [len(got["a", i].token_ids) for i in range(5)] == [3, 15, 3, 15, 3]
    with pytest.raises(ValueError, match="max_tokens=15"):
        replace(UNTIL_EOS, max_tokens=15, forced=(16,))


def scripted_bytes(pieces):
    """A model that writes the pieces in order, and their decoder (UTF-8 over token borders)."""
    table = {t: t + 1 for t in range(len(pieces))}

    def decode(ids):
        return b"".join(pieces[t - 1] for t in ids).decode("utf-8", errors="replace")

    return Scripted(table), decode


@pytest.mark.parametrize(
    "pieces, stop, tokens",
    [
        ([b"a", b"b", b"c", b"d"], ("c",), 3),
        ([b"x", b"</th", b"ink", b">", b"y"], ("</think>",), 4),  # spans three tokens
        ([b"x", b"</think>yes", b"y"], ("</think>",), 2),  # and more follows in the same token
        ([b"x<", b"<<<", b"/a>>", b"z"], ("</a>",), 3),
        ([b"a", b"\xe7", b"\xad", b"\x89", b"b"], ("等",), 4),  # one character in three tokens
        ([b"a\xe7", b"\xad\x89\xe7\xad", b"\x89b", b"c"], ("等等",), 3),
        ([b"\xe7\xad\x89", b"\xe7\xad\x89", b"c"], ("等等",), 2),
        ([b"a", b"b", b"c"], ("zz", "b"), 2),  # any of several
        ([b"a", b"b", b"\n", b"\n", b"c"], ("\n\n",), 4),
        ([b"ab", b"c", b"ab", b"d", b"e"], ("abd",), 4),
    ],
    ids=str,
)
def test_stop_strings_end_the_answer_with_the_token_that_completes_them(
    pieces, stop, tokens, new_engine, drain
):
    model, decode = scripted_bytes(pieces)
    engine = new_engine(model, eos=(63,), decode=decode)
    engine.submit("a", [0], 2, replace(UNTIL_EOS, stop=stop, max_tokens=len(pieces)))
    for rollout in drain(engine).values():
        assert rollout.token_ids == tuple(range(1, tokens + 1))
        assert rollout.stopped == "stop"
        assert rollout.text == b"".join(pieces[:tokens]).decode()  # text and tokens are kept


def test_a_stop_string_in_the_prompt_does_not_count(new_engine, drain):
    model, decode = scripted_bytes([b"a", b"b", b"c", b"d"])
    engine = new_engine(model, eos=(63,), decode=decode)
    engine.submit("p", [3, 1], 1, replace(UNTIL_EOS, stop=("cb", "ab"), max_tokens=3))
    assert drain(engine)["p", 0].stopped == "length"


def test_stop_strings_in_sampled_text(new_engine, drain):
    """Three letters from the middle of an answer, as its stop string: it ends at their first end."""
    for (prompt_id, sample), whole in one_by_one("llama").items():
        if len(whole.token_ids) < 9 or sample > 2:
            continue

        def decode(ids):
            return "".join("xyz"[i % 3] for i in ids)

        text = decode(whole.token_ids)
        stop = text[4:7]
        engine = new_engine(eos=EOS, decode=decode)
        engine.submit(prompt_id, PROMPTS[prompt_id], sample + 1, replace(DRAWN, stop=(stop,)))
        got = drain(engine)[prompt_id, sample]
        first = next(n for n in range(1, 20) if stop in decode(whole.token_ids[:n]))
        assert got.token_ids == whole.token_ids[:first]
        assert got.stopped == "stop"


def test_groups_that_finish_in_odd_orders_keep_their_own_prefix(new_engine, drain):
    # groups of very different lengths, so that prefixes and slots move again and again
    engine = new_engine(eos=(), decode=str, max_rows=9)
    caps = {"a": 1, "b": 16, "c": 2, "d": 9, "e": 3, "f": 12}
    alone = one_by_one("llama", replace(DRAWN, forced=(DRAWN.max_tokens,)), 3)
    for prompt_id, cap in caps.items():
        engine.submit(prompt_id, PROMPTS[prompt_id], 3, replace(DRAWN, max_tokens=cap))
    for (prompt_id, sample), rollout in drain(engine).items():
        want = alone[prompt_id, sample].token_ids[: caps[prompt_id]]
        agree("llama", (prompt_id, sample), rollout.token_ids, want)


# -- weights -----------------------------------------------------------------------------------------


def test_load_is_refused_while_answers_are_unfinished(new_engine, drain):
    engine = new_engine(eos=())
    engine.submit("a", PROMPTS["a"], 2, DRAWN)
    with pytest.raises(RuntimeError, match="2 answers unfinished"):
        engine.load(1)
    engine.step()
    with pytest.raises(RuntimeError, match="two policies"):
        engine.load(1)
    assert {r.policy_version for r in drain(engine).values()} == {0}
    engine.load(1)
    assert engine.version == 1


@pytest.mark.parametrize("architecture", ["llama", "deepseek_v3"])
def test_after_new_weights_everything_is_new(architecture, new_engine, drain):
    policy = copy.deepcopy(tiny.policy(architecture))
    engine = new_engine(policy, eos=EOS)

    def answers(engine):
        for prompt_id in "ac":
            engine.submit(prompt_id, PROMPTS[prompt_id], 3, DRAWN)
        return drain(engine)

    old = answers(engine)
    with torch.no_grad():
        random = torch.Generator().manual_seed(8)
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    engine.load(5)
    new = answers(engine)
    fresh = new_engine(policy, eos=EOS)
    fresh.load(5)
    assert new == answers(fresh)
    assert {r.policy_version for r in new.values()} == {5}
    assert any(new[name].token_ids != old[name].token_ids for name in old)
    for (prompt_id, _), rollout in new.items():
        logp = tiny.slow_logprobs(policy.model, PROMPTS[prompt_id], rollout.token_ids, 0.9)
        assert list(rollout.logprobs) == pytest.approx(logp.tolist(), abs=1e-5)


# -- small promises ------------------------------------------------------------------------------------


def test_pending_counts_waiting_and_live_answers(new_engine):
    engine = new_engine(COUNT, eos=(20,), max_rows=3)
    assert engine.pending() == 0
    assert engine.step() == []
    engine.submit("a", [10], 5, UNTIL_EOS)
    engine.submit("b", [17], 2, UNTIL_EOS)
    assert engine.pending() == 7
    engine.step()
    assert engine.pending() == 7
    assert len(engine._live) == 3


def test_impossible_requests_are_refused(new_engine):
    engine = new_engine()
    for ids, n in (([], 1), ([1], 0)):
        with pytest.raises(ValueError, match="must be >= 1"):
            engine.submit("a", ids, n, DRAWN)
    for wrong in ({"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match=r"max_tokens|top_p"):
            replace(DRAWN, **wrong)


def test_no_gradient_is_kept(new_engine, drain):
    policy = tiny.policy("llama")
    engine = new_engine(policy)
    engine.submit("a", PROMPTS["a"], 2, DRAWN)
    drain(engine)
    assert not any(t.requires_grad for t in (*engine._cache.own_k, *engine._cache.prefix_v))
    assert all(parameter.grad is None for parameter in policy.parameters())
