"""The fused parts of training against the modules and double precision."""

import copy

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

pytest.importorskip("numba")
from aha.models import fused
from aha.models.policy import pack
from aha.rl.logprobs import token_logprobs

DTYPES = (torch.float32, torch.bfloat16)
BOUND = {torch.float32: 3e-6, torch.bfloat16: 0.02}


@pytest.fixture(params=(1, 2), autouse=True)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(got, want, bound):
    """Largest error relative to the largest number."""
    scale = want.detach().double().abs().max().clamp_min(0.5)
    assert ((got.detach().double() - want.detach().double()).abs().max() / scale) < bound


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 300, 200)])
def test_norm_and_its_gradients(dtype, shape):
    module = LlamaRMSNorm(shape[-1], eps=1e-5).double()
    module.weight.data = noise(shape[-1], seed=1).to(dtype).double()
    x, slope = noise(*shape, seed=2, dtype=dtype), noise(*shape, seed=3, dtype=dtype)
    (theirs,) = leaves(x.double())
    # the module computes its variance in float32 at best, so double is written out here
    part = torch.rsqrt(theirs.pow(2).mean(-1, keepdim=True) + 1e-5)
    want = theirs * part * module.weight
    want.backward(slope.double())
    ours, weight = leaves(x, module.weight.detach().to(dtype))
    got = fused.RMSNorm.apply(ours, weight, 1e-5)
    got.backward(slope)
    close(got, want, BOUND[dtype])
    close(ours.grad, theirs.grad, BOUND[dtype])
    close(weight.grad, module.weight.grad, BOUND[dtype])
    assert torch.equal(slope, noise(*shape, seed=3, dtype=dtype))  # not written over


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_swiglu_and_its_gradients(dtype):
    gate, up, slope = (noise(3, 70, 40, seed=s, dtype=dtype) * 3 for s in (1, 2, 3))
    tg, tu = leaves(gate.double(), up.double())
    want = torch.nn.functional.silu(tg) * tu
    want.backward(slope.double())
    og, ou = leaves(gate, up)
    got = fused.SwiGLU.apply(og, ou)
    got.backward(slope)
    for a, b in ((got, want), (og.grad, tg.grad), (ou.grad, tu.grad)):
        close(a, b, BOUND[dtype])
    assert torch.equal(og.detach(), gate)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    "rows, keep", [(1, 1 << 20), (7, 0), (100, 0), (100, 700_000), (100, 1 << 30)]
)
def test_head_and_its_gradients(dtype, temperature, rows, keep, monkeypatch):
    vocabulary = 3000
    monkeypatch.setattr(fused, "CHUNK_BYTES", 33 * vocabulary * dtype.itemsize)
    hidden, weight = (
        noise(rows, 24, seed=1, dtype=dtype),
        noise(vocabulary, 24, seed=2, dtype=dtype),
    )
    targets = torch.arange(rows) * 29 % vocabulary
    slope = noise(rows, seed=4)
    th, tw = leaves(hidden.double(), weight.double())
    logits = th @ tw.T
    if dtype == torch.bfloat16:  # logits are rounded, the gradient passes
        logits = logits + (logits.to(dtype).double() - logits).detach()
    want = torch.log_softmax(logits / temperature, -1)
    shares = want.exp()
    entropy = -(shares * want).sum(-1)
    want = want[torch.arange(rows), targets]
    want.backward(slope.double())
    oh, ow = leaves(hidden, weight)
    got, entropies = fused.Head.apply(oh, ow, targets, temperature, keep)
    got.backward(slope)
    assert got.dtype == entropies.dtype == torch.float32
    bound = 2e-5 if dtype == torch.float32 else 0.05
    assert (got.double() - want).abs().max() < bound
    assert (entropies.double() - entropy).abs().max() < bound
    close(oh.grad, th.grad, 1e-5 if dtype == torch.float32 else 0.03)
    close(ow.grad, tw.grad, 1e-5 if dtype == torch.float32 else 0.03)


def test_head_without_rows():
    hidden, weight = torch.zeros(0, 8, requires_grad=True), torch.zeros(50, 8, requires_grad=True)
    logps, entropies = fused.Head.apply(hidden, weight, torch.zeros(0, dtype=torch.long), 1.0, 0)
    assert logps.shape == entropies.shape == (0,)
    logps.sum().backward()
    assert hidden.grad.shape == (0, 8)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=4),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)]),
    dtype=st.sampled_from(DTYPES),
    block=st.sampled_from([7, 16, 256]),
    seed=st.integers(0, 99),
)
def test_attention_and_its_gradients(sizes, heads, dtype, block, seed):
    fused.QUERIES, before = block, fused.QUERIES
    try:
        many, few = heads
        prefix, longest = max(p for p, _ in sizes), max(n for _, n in sizes)
        shape = (len(sizes), many, longest, 16)
        q = noise(*shape, seed=seed, dtype=dtype)
        k = noise(len(sizes), few, prefix + longest, 16, seed=seed + 1, dtype=dtype)
        v = noise(*k.shape, seed=seed + 2, dtype=dtype)
        slope = noise(*shape, seed=seed + 3, dtype=dtype)
        first = torch.tensor([prefix - p for p, _ in sizes])
        column = torch.arange(prefix + longest)
        seen = (column >= first[:, None, None]) & (
            column <= prefix + torch.arange(longest)[:, None]
        )
        tq, tk, tv = leaves(q.double(), k.double(), v.double())
        want = scaled_dot_product_attention(
            tq, tk, tv, attn_mask=seen[:, None], scale=0.3, enable_gqa=True
        )
        want.backward(slope.double())
        oq, ok, ov = leaves(q, k, v)
        got = fused.Attention.apply(oq, ok, ov, first, 0.3)
        got.backward(slope)
        bound = 1e-5 if dtype == torch.float32 else 0.04
        for a, b in ((got, want), (oq.grad, tq.grad), (ok.grad, tk.grad), (ov.grad, tv.grad)):
            close(a, b, bound)
    finally:
        fused.QUERIES = before


# -- in a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_model_with_fused_parts_computes_the_same(architecture, dtype):
    options = {"num_experts_per_tok": 4} if architecture.startswith("deepseek") else {}
    exact = torch.float32 if options else torch.float64  # experts are not multiplied in double
    plain = tiny.fresh(architecture, dtype=exact, **options)
    model = tiny.fresh(architecture, dtype=dtype, **options)
    fused.install(model.model)
    names = {type(m).__module__ for m in model.modules() if type(m).__name__ in fused.NORMS}
    assert names == {fused.__name__}
    prompts, answers = [[5, 6, 7], [9] * 5], [[[11, 12, 13], [14] * 9], [[20, 21]]]
    slope = noise(14, seed=5)
    results = []
    for policy in (plain, model):
        with torch.random.fork_rng():
            logps, entropy = policy(pack(prompts, answers), 0.8)
        logps.backward(slope.to(logps.dtype))
        results.append((logps, entropy, {n: p.grad for n, p in policy.named_parameters()}))
    (want, want_entropy, slopes), (got, entropy, grads) = results
    bound = 2e-5 if dtype == torch.float32 else 0.15
    assert (got.double() - want.double()).abs().max() < bound * (1 if bound < 1e-3 else 4)
    assert (entropy.double() - want_entropy.double()).abs().mean() < bound
    flat = lambda g: torch.cat([t.double().flatten() for t in g.values() if t is not None])  # noqa: E731
    a, b = flat(grads), flat(slopes)
    cosine = float(a @ b / a.norm() / b.norm())
    assert cosine > (1 - 1e-7 if dtype == torch.float32 else 0.98)


def test_fused_modules_are_copied_saved_and_named_as_before(tmp_path):
    model = tiny.build("llama")
    names = [name for name, _ in model.named_parameters()]
    norm = model.model.norm
    fused.install(model)
    fused.install(model)  # twice is once
    assert type(norm).__mro__[1:3] == (fused._Norm, LlamaRMSNorm)
    assert isinstance(norm, LlamaRMSNorm)
    assert isinstance(model.model.layers[0].mlp, LlamaMLP)
    assert [name for name, _ in model.named_parameters()] == names
    twin = copy.deepcopy(model)
    assert torch.equal(twin.model.norm.weight, norm.weight)
    model.save_pretrained(tmp_path)
    assert "fused" not in (tmp_path / "config.json").read_text()


def test_half_precision_and_other_activations_keep_the_module():
    module = LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=8, hidden_act="gelu"))
    fused.install(module)
    assert type(module) is LlamaMLP
    norm = LlamaRMSNorm(8).half()
    plain = copy.deepcopy(norm)
    fused.install(norm)
    x = noise(3, 8).half()
    assert torch.equal(norm(x), plain(x))


def test_token_logprobs_is_the_same_head():
    hidden, weight, targets = noise(9, 8, seed=1), noise(300, 8, seed=2), torch.arange(9)
    want = token_logprobs(hidden @ weight.T, targets, temperature=0.5)
    got = fused.Head.apply(hidden, weight, targets, 0.5, 0)
    for a, b in zip(got, want, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
