"""The compiled kernels against plain tensor operations and double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

pytest.importorskip("numba")
from aha.kernels import draw, low, rows
from aha.rollout.local.cache import Cache, Shape
from aha.rollout.local.native import NativeLayout

DTYPES = (torch.float32, torch.bfloat16)
BOUND = {torch.float32: 2e-6, torch.bfloat16: 0.02}


@pytest.fixture(params=(1, 2))
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# -- attention --------------------------------------------------------------------------------------


def slow_attention(q, k, v, scale):
    """q [G, D], k and v [n, D], in double."""
    q, k, v = q.double(), k.double(), v.double()
    return torch.softmax(q @ k.T * scale, -1) @ v


def filled(dtype, *, heads, width, used, place, prefix, seed=0):
    """A cache of one layer with noise in it."""
    shape = Shape(layers=1, heads=heads, width=width, dtype=dtype, device=torch.device("cpu"))
    cache = Cache(
        shape,
        slots=len(used),
        answer_tokens=max(used) + 3,
        groups=len(prefix),
        prompt_tokens=max(prefix) + 2,
    )
    for number, tensors in enumerate((cache.own_k, cache.own_v, cache.prefix_k, cache.prefix_v)):
        tensors[0].copy_(noise(*tensors[0].shape, seed=seed + number))
    return cache


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("per_head, width", [(1, 8), (3, 64), (7, 64), (2, 12), (4, 128), (1, 6)])
def test_attention_reads_prefix_and_own_tokens(dtype, per_head, width, threads):
    heads, used, place, prefix = 2, [0, 5, 17, 2, 0], [1, 0, 0, 1, -1], [9, 33]
    cache = filled(dtype, heads=heads, width=width, used=used, place=place, prefix=prefix)
    count = len(used)
    q = noise(1, heads * per_head, count, width, seed=8, dtype=dtype)
    k, v = (noise(1, heads, count, width, seed=s, dtype=dtype) for s in (9, 10))
    layout = NativeLayout(cache, *map(np.array, (used, place, prefix)))
    got = layout.attend(0, q, k, v, 0.3)[0]
    assert got.shape == (count, heads * per_head, width)
    for row in range(count):
        if place[row] < 0:
            assert not got[row].any()
            continue
        for head in range(heads):
            own = slice(0, used[row])
            past = slice(0, prefix[place[row]])
            keys = torch.cat(
                [
                    cache.prefix_k[0][place[row], head, past],
                    cache.own_k[0][row, head, own],
                    k[0, head, row][None],
                ]
            )
            values = torch.cat(
                [
                    cache.prefix_v[0][place[row], head, past],
                    cache.own_v[0][row, head, own],
                    v[0, head, row][None],
                ]
            )
            some = slice(head * per_head, (head + 1) * per_head)
            want = slow_attention(q[0, some, row], keys, values, 0.3)
            assert (got[row, some].double() - want).abs().max() < BOUND[dtype]
            assert torch.equal(cache.own_k[0][row, head, used[row]], k[0, head, row])
            assert torch.equal(cache.own_v[0][row, head, used[row]], v[0, head, row])


@settings(max_examples=30, deadline=None)
@given(
    used=st.lists(st.integers(0, 70), min_size=1, max_size=9),
    prefix=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_attention_of_any_lengths(used, prefix, seed):
    place = [(seed + row) % len(prefix) for row in range(len(used))]
    cache = filled(torch.float32, heads=1, width=16, used=used, place=place, prefix=prefix)
    q = noise(1, 2, len(used), 16, seed=seed)
    k, v = noise(1, 1, len(used), 16, seed=seed + 1), noise(1, 1, len(used), 16, seed=seed + 2)
    got = NativeLayout(cache, *map(np.array, (used, place, prefix))).attend(0, q, k, v, 0.5)[0]
    for row, (n, p) in enumerate(zip(used, place, strict=True)):
        keys = torch.cat(
            [cache.prefix_k[0][p, 0, : prefix[p]], cache.own_k[0][row, 0, :n], k[0, 0, row][None]]
        )
        values = torch.cat(
            [cache.prefix_v[0][p, 0, : prefix[p]], cache.own_v[0][row, 0, :n], v[0, 0, row][None]]
        )
        want = slow_attention(q[0, :, row], keys, values, 0.5)
        assert (got[row].double() - want).abs().max() < 2e-6


def test_scores_far_apart_do_not_overflow_and_nan_is_kept():
    cache = filled(torch.float32, heads=1, width=8, used=[3, 3], place=[0, 0], prefix=[4])
    q = torch.zeros(1, 1, 2, 8)
    q[0, 0, 0] = 1e4
    q[0, 0, 1, 3] = math.nan
    k, v = noise(1, 1, 2, 8, seed=1), noise(1, 1, 2, 8, seed=2)
    got = NativeLayout(cache, *map(np.array, ([3, 3], [0, 0], [4]))).attend(0, q, k, v, 1.0)[0]
    keys = torch.cat([cache.prefix_k[0][0, 0, :4], cache.own_k[0][0, 0, :3], k[0, 0, 0][None]])
    values = torch.cat([cache.prefix_v[0][0, 0, :4], cache.own_v[0][0, 0, :3], v[0, 0, 0][None]])
    want = slow_attention(q[0, :, 0], keys, values, 1.0)
    assert (got[0].double() - want).abs().max() < 1e-5
    assert got[1].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("normalised", [False, True])
def test_attention_rotates_and_normalises_as_transformers_do(dtype, normalised):
    heads, per_head, width, used, place, prefix = 2, 2, 16, [4, 0, 7], [0, 0, 0], [5]
    make = lambda: filled(dtype, heads=heads, width=width, used=used, place=place, prefix=prefix)  # noqa: E731
    angle = noise(3, width // 2, seed=5) * 3
    cos, sin = (torch.cat([f(angle)] * 2, -1).to(dtype) for f in (torch.cos, torch.sin))
    q, k = noise(3, 4, width, seed=1, dtype=dtype), noise(3, 2, width, seed=2, dtype=dtype)
    v = noise(3, 2, width, seed=3, dtype=dtype)
    rq, rk = q, k
    norms = None
    if normalised:
        norms = noise(width, seed=6).abs() + 0.5, noise(width, seed=7).abs() + 0.5
        rq, rk = (_normalised(x, w.to(dtype)) for x, w in zip((q, k), norms, strict=True))
        norms = norms[0].to(dtype).float(), norms[1].to(dtype).float()
    rq, rk = apply_rotary_pos_emb(
        rq.transpose(0, 1)[None], rk.transpose(0, 1)[None], cos[None], sin[None]
    )
    index = [np.array(x) for x in (used, place, prefix)]
    ready, fresh = make(), make()
    want = NativeLayout(ready, *index).attend(0, rq, rk, v.transpose(0, 1)[None], 0.25)[0]
    got = torch.empty(3, heads * per_head * width, dtype=dtype)
    rotate = cos.float().contiguous(), sin.float().contiguous()
    NativeLayout(fresh, *index).rows_of(0, q, k, v, got, 0.25, rotate=rotate, norms=norms, eps=1e-5)
    assert (got.view_as(want).float() - want.float()).abs().max() < BOUND[dtype]
    assert (fresh.own_k[0].float() - ready.own_k[0].float()).abs().max() < BOUND[dtype] * 2


def _normalised(x, weight):
    module = LlamaRMSNorm(x.shape[-1], eps=1e-5)
    module.weight.data = weight
    return module(x).detach()


# -- rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [8, 100, 576])
def test_norm_adds_the_residual_and_normalises(dtype, width, threads):
    hidden, delta = noise(11, width, seed=1, dtype=dtype), noise(11, width, seed=2, dtype=dtype)
    weight = (noise(width, seed=3).abs() + 0.1).to(dtype)
    want_hidden = hidden + delta
    want = _normalised(want_hidden, weight)
    wide, out = weight.float(), torch.empty_like(hidden)
    low.call(rows.add_norm(dtype), 1 << 20, 11, width, hidden, delta, wide, out, 1e-5)
    assert torch.equal(hidden, want_hidden)
    assert (out.float() - want.float()).abs().max() <= BOUND[dtype] * want.abs().max()
    low.call(rows.add_norm(dtype), 1 << 20, 11, width, hidden, None, wide, out, 1e-5)
    assert torch.equal(hidden, want_hidden)  # nothing to add


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_swiglu_of_strided_halves(dtype, threads):
    both = noise(9, 80, seed=4, dtype=dtype) * 6
    gate, up = both[:, :40], both[:, 40:]
    want = torch.nn.functional.silu(gate) * up
    out = torch.empty(9, 40, dtype=dtype)
    low.call(rows.swiglu(dtype), 1 << 20, 9, 40, gate, 80, up, out, 80)
    error = (out.float() - want.float()).abs()
    assert (error <= BOUND[dtype] * (1 + want.float().abs())).all()


# -- numbers -----------------------------------------------------------------------------------------


def test_bfloat16_rounds_as_torch_does():
    bits = torch.randint(-(2**31), 2**31 - 1, (20000,), generator=torch.Generator().manual_seed(0))
    x = bits.to(torch.int32).view(torch.float32)
    x = x[x.isfinite()]
    x = torch.cat([x, torch.tensor([0.0, -0.0, 1.00390625, 1.01171875, math.inf, -math.inf])])
    got = torch.tensor([low.narrow(np.float32(v)) for v in x.numpy()[-3000:]], dtype=torch.int32)
    want = x[-3000:].bfloat16().view(torch.int16).to(torch.int32) & 0xFFFF
    assert torch.equal(got, want)
    assert math.isnan(low.widen(low.narrow(np.float32(math.nan))))


def test_exp_is_exact_to_a_few_units():
    x = np.linspace(-87, 88, 5001).astype(np.float32)
    got = np.array([low.exp(v) for v in x], dtype=np.float64)
    want = np.exp(x.astype(np.float64))
    assert np.abs(got / want - 1).max() < 3e-7
    assert low.exp(np.float32(-200.0)) == 0
    assert low.exp(np.float32(-np.inf)) == 0
    assert low.exp(np.float32(100.0)) == np.inf
    assert math.isnan(low.exp(np.float32(np.nan)))


# -- sampling ----------------------------------------------------------------------------------------


def run_draw(logits, uniform, temperature, threads=1, top_p=1.0):
    tokens, logps = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits))
    nucleus = top_p < 1
    size = draw.nucleus_scratch_floats if nucleus else draw.scratch_floats
    scratch = torch.empty(size(logits.shape[1], threads))
    compiled = (draw.draw_nucleus if nucleus else draw.draw)(logits.dtype)
    given = (*logits.shape, logits, logits.stride(0), uniform, tokens, logps, scratch)
    low.call(compiled, threads * low.GRAIN, *given, temperature, top_p)
    return tokens, logps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 7, 256, 1533, 5000])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_draw_inverts_the_cumulative_distribution(dtype, vocabulary, temperature, threads):
    logits = (noise(200, vocabulary, seed=3) * 4).to(dtype)
    uniform = torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens, logps = run_draw(logits, uniform, temperature, threads)
    shares = torch.softmax(logits.double() / temperature, -1)
    above = shares.cumsum(-1).gather(-1, tokens[:, None])[:, 0]
    below = above - shares.gather(-1, tokens[:, None])[:, 0]
    assert (below <= uniform + 1e-6).all()
    assert (uniform <= above + 1e-6).all()
    want = shares.gather(-1, tokens[:, None])[:, 0].log()
    assert (logps.double() - want).abs().max() < 3e-6


def test_draw_at_the_ends_of_the_unit_interval():
    logits = torch.full((3, 600), -math.inf)
    logits[:, [5, 300, 411]] = torch.tensor([0.0, 1.0, 2.0])
    uniform = torch.tensor([0.0, 1 - 2.0**-53, 0.3], dtype=torch.float64)
    tokens, logps = run_draw(logits, uniform, 1.0)
    assert tokens.tolist() == [5, 411, 300]  # shares 0.09, 0.245, 0.665
    assert logps[0] == pytest.approx(-2 - math.log(1 + math.exp(-1) + math.exp(-2)))


def test_draw_greedy_takes_the_first_of_equals():
    logits = noise(4, 900, seed=2)
    logits[:, [100, 700]] = 50.0
    tokens, logps = run_draw(logits, torch.zeros(4, dtype=torch.float64), 0.0)
    assert tokens.tolist() == [100] * 4
    want = logits.double().log_softmax(-1)[:, 100]
    assert torch.allclose(logps.double(), want, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_draw_reports_logits_that_are_not_finite(bad):
    logits = noise(2, 400)
    logits[1, 17] = bad
    _, logps = run_draw(logits, torch.full((2,), 0.5, dtype=torch.float64), 1.0)
    assert logps[0].isfinite()
    assert not logps[1].isfinite()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 7, 1533])
@pytest.mark.parametrize("temperature, top_p", [(1.0, 0.95), (0.6, 0.9), (3.0, 0.5), (1.0, 0.01)])
def test_nucleus_walks_the_likeliest_tokens(dtype, vocabulary, temperature, top_p, threads):
    logits = (noise(100, vocabulary, seed=9) * 4).to(dtype)
    uniform = torch.rand(100, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    tokens, logps = run_draw(logits, uniform, temperature, threads, top_p)
    shares = torch.softmax(logits.double() / temperature, -1)
    for row in range(100):
        order = sorted(range(vocabulary), key=lambda i: (-shares[row, i].item(), i))
        mass, kept = 0.0, []
        for token in order:
            if kept and mass >= top_p:
                break
            kept.append(token)
            mass += shares[row, token].item()
        seen, want = 0.0, kept[-1]
        for token in kept:
            seen += shares[row, token].item()
            if seen > uniform[row].item() * mass:
                want = token
                break
        if tokens[row] != want:  # a border within rounding
            assert abs(seen - uniform[row].item() * mass) < 1e-5 or abs(mass - top_p) < 1e-5
        assert logps[row].item() == pytest.approx(shares[row, tokens[row]].log().item(), abs=3e-6)


def test_nucleus_keeps_one_token_and_reports_nan():
    logits = torch.zeros(3, 700)
    logits[1, 5] = math.nan
    logits[2, 699] = 30.0
    tokens, logps = run_draw(logits, torch.full((3,), 0.999, dtype=torch.float64), 1.0, 1, 1e-4)
    assert tokens[0] == 0  # all are equal: the lowest id alone
    assert logps[1].isnan()
    assert tokens[2] == 699
