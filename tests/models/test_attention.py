import math

import pytest
import tiny
import torch

from aha.models.attention import NAME, PackedLayout, Segment, _attention, _group, register

SCALE = 0.37


def slow(segments, q, k, v):
    """Attention in loops: a token sees the prefix and its own segment up to itself."""
    heads, per_key = q.shape[1], q.shape[1] // k.shape[1]
    out = torch.zeros(q.shape[2], heads, v.shape[-1], dtype=torch.float64)
    for s in segments:
        for offset in range(s.length):
            t = s.start + offset
            seen = [*range(s.prefix_start, s.prefix_start + s.prefix_length)]
            seen += [*range(s.start, t + 1)]
            for h in range(heads):
                keys, values = k[0, h // per_key, seen].double(), v[0, h // per_key, seen].double()
                shares = torch.softmax(keys @ q[0, h, t].double() * SCALE, 0)
                out[t, h] = shares @ values
    return out[None]


def tensors(length, *, heads=4, key_heads=2, width=8, value_width=8, seed=0):
    random = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(1, n, length, w, generator=random) * 2
        for n, w in ((heads, width), (key_heads, width), (key_heads, value_width))
    )
    return q, k, v


def tree(prompts, answers):
    """Segments of prompts, each followed by its answers."""
    segments, at = [], 0
    for prompt, group in zip(prompts, answers, strict=True):
        base = at
        segments.append(Segment(base, prompt))
        at += prompt
        for length in group:
            segments.append(Segment(at, length, base, prompt))
            at += length
    return segments, at


TREES = {
    "one token": ([1], [[]]),
    "one answer of one token": ([1], [[1]]),
    "ragged": ([3, 1, 6], [[2, 5, 1], [4], [1, 1, 9]]),
    "prompt without answers": ([4, 2], [[], [3]]),
    "one long among short": ([2], [[40, 1, 2, 1, 3]]),
    "one long prompt": ([50, 1], [[2, 3], [2, 30]]),
    "many": ([4, 5], [[3] * 20, [2, 3, 4] * 8]),
}


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (4, 4, 8, 8), (4, 1, 8, 5), (3, 3, 12, 8)])
@pytest.mark.parametrize("name", TREES)
def test_equals_attention_in_loops(name, shape):
    segments, length = tree(*TREES[name])
    heads, key_heads, width, value_width = shape
    q, k, v = tensors(
        length, heads=heads, key_heads=key_heads, width=width, value_width=value_width
    )
    got = PackedLayout(segments).attend(0, q, k, v, SCALE)
    assert got.shape == (1, length, heads, value_width)
    torch.testing.assert_close(got.double(), slow(segments, q, k, v), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("waste", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("cells", [1, 64, 1 << 22])
def test_the_buckets_do_not_change_the_answer(waste, cells):
    segments, length = tree([3, 7, 20], [[2, 5, 1, 30], [4, 4], [1, 60]])
    q, k, v = tensors(length)
    got = PackedLayout(segments, waste=waste, cells=cells).attend(0, q, k, v, SCALE)
    torch.testing.assert_close(got.double(), slow(segments, q, k, v), atol=1e-5, rtol=1e-5)


def test_buckets_hold_every_segment_once_and_little_padding():
    segments, _ = tree([500, 40], [[1, 2, 3, 4, 700, 690, 710], [300] * 9])
    groups = _group(segments, waste=0.3, cells=1 << 30)
    assert sorted(s for g in groups for s in map(repr, g)) == sorted(map(repr, segments))
    assert len(groups) < len(segments)
    for group in groups:
        longest, prefix = max(s.length for s in group), max(s.prefix_length for s in group)
        padded = len(group) * longest * (longest + prefix)
        real = sum(s.length * (s.length + s.prefix_length) for s in group)
        assert padded <= 64 * 1024 or real >= 0.7 * padded


def test_many_short_answers_cost_one_call():
    segments, _ = tree([10], [[5, 6, 7, 8] * 16])
    assert len(PackedLayout(segments)._buckets) == 2  # the prompt, and all answers


def test_answers_do_not_see_each_other():
    segments, length = tree([3], [[4, 5]])
    q, k, v = tensors(length)
    before = PackedLayout(segments).attend(0, q, k, v, SCALE)
    k[:, :, 7:] += 9.0
    v[:, :, 7:] -= 9.0
    after = PackedLayout(segments).attend(0, q, k, v, SCALE)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_gradients_equal_those_of_the_loops():
    segments, length = tree([3, 2], [[2, 5, 1], [4]])
    q, k, v = (x.requires_grad_() for x in tensors(length, value_width=5))
    weights = torch.randn(1, length, 4, 5, generator=torch.Generator().manual_seed(1))
    (PackedLayout(segments).attend(0, q, k, v, SCALE) * weights).sum().backward()
    got = [x.grad.clone() for x in (q, k, v)]
    for x in (q, k, v):
        x.grad = None
    (slow(segments, q, k, v) * weights).sum().backward()
    for mine, x in zip(got, (q, k, v), strict=True):
        torch.testing.assert_close(mine, x.grad, atol=2e-5, rtol=1e-4)


def test_two_tokens_by_hand():
    # scores of the second token: 0 and log 3 (scale 1), so shares 1/4 and 3/4
    q = torch.tensor([[[[0.0], [1.0]]]])
    k = torch.tensor([[[[0.0], [math.log(3.0)]]]])
    v = torch.tensor([[[[1.0], [5.0]]]])
    got = PackedLayout([Segment(0, 2)]).attend(0, q, k, v, 1.0)
    torch.testing.assert_close(got.flatten(), torch.tensor([1.0, 4.0]))


def test_values_wider_than_keys_are_refused():
    q, k, v = tensors(4, value_width=16)
    with pytest.raises(ValueError, match="wider"):
        PackedLayout([Segment(0, 4)]).attend(0, q, k, v, SCALE)


def test_a_call_without_layout_says_what_is_missing():
    with pytest.raises(ValueError, match="layout="):
        tiny.build("llama")(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False)


@pytest.mark.parametrize(
    "extra", [{"sliding_window": 4}, {"softcap": 30.0}, {"s_aux": torch.zeros(4)}]
)
def test_what_the_layout_cannot_do_is_refused(extra):
    q, k, v = tensors(3)
    layout = PackedLayout([Segment(0, 3)])
    with pytest.raises(ValueError, match="not supported"):
        _attention(torch.nn.Module(), q, k, v, None, scaling=1.0, layout=layout, **extra)


def test_registering_twice_is_harmless():
    assert register() == register() == NAME
