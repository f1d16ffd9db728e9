import pytest
import torch

from aha.rollout.local.cache import (
    MIN_ROWS,
    Cache,
    DecodeLayout,
    PrefillLayout,
    Shape,
    attend_part,
)

SCALE = 0.41
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    return request.param


def shape_of(device="cpu", *, layers=2, heads=2, width=8):
    return Shape(
        layers=layers, heads=heads, width=width, dtype=torch.float32, device=torch.device(device)
    )


def noise(*size, seed=0, device="cpu"):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(device) * 1.5


def slow_attention(q, k, v):
    """q [H, D], k [K, L, D], v [K, L, Dv] -> [H, Dv], float64, one head after the other."""
    per_key = q.shape[0] // k.shape[0]
    rows = []
    for h, query in enumerate(q.double()):
        scores = k[h // per_key].double() @ query * SCALE
        rows.append(torch.softmax(scores, 0) @ v[h // per_key].double())
    return torch.stack(rows)


@pytest.mark.parametrize("queries", [1, 3, 40])
def test_a_part_gives_attention_and_the_log_sum_of_its_scores(device, queries):
    q, k, v = (noise(3, 2, n, 8, seed=i, device=device) for i, n in enumerate((queries, 11, 11)))
    sizes = torch.tensor([11, 1, 6], device=device)
    mask = (torch.arange(11, device=device)[None] < sizes[:, None])[:, None, None]
    out, total = attend_part(q, k, v, mask, SCALE)
    assert total.dtype == torch.float32
    for b, size in enumerate(sizes.tolist()):
        scores = q[b].double() @ k[b, :, :size].double().transpose(-1, -2) * SCALE
        want = torch.softmax(scores, -1) @ v[b, :, :size].double()
        torch.testing.assert_close(out[b].double(), want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(total[b].double(), scores.logsumexp(-1), atol=1e-5, rtol=1e-5)


CASES = {
    "one row": ([2], [0], [5]),
    "two groups": ([0, 3, 1, 4, 2], [0, 1, 0, 1, 1], [3, 7]),
    "a prefix without live answers": ([1, 1], [2, 0], [4, 9, 1]),
    "padding rows": ([3, 0, 1, 0, 0, 0, 0, 0], [0, 0, 1, -1, -1, -1, -1, -1], [2, 6]),
    "uneven": ([i % 5 for i in range(11)], [0] * 9 + [1, 2], [1, 1, 8]),
}


@pytest.mark.parametrize("heads", [(4, 2, 8), (2, 2, 8), (4, 4, 5), (6, 1, 8)])
@pytest.mark.parametrize("name", CASES)
def test_a_decode_step_equals_attention_over_prefix_and_own_tokens(name, heads, device):
    used, group, prefix = CASES[name]
    query_heads, key_heads, value_width = heads
    cache = Cache(
        shape_of(device, heads=key_heads),
        slots=len(used),
        answer_tokens=6,
        groups=3,
        prompt_tokens=9,
    )
    for i, room in enumerate((cache.own_k, cache.own_v, cache.prefix_k, cache.prefix_v)):
        for layer, tensor in enumerate(room):
            tensor.copy_(noise(*tensor.shape, seed=10 * i + layer, device=device))
            if i in (1, 3):
                tensor[..., value_width:] = 0
    own_k, own_v = cache.own_k[1].clone(), cache.own_v[1].clone()
    rows = len(used)
    q = noise(1, query_heads, rows, 8, seed=1, device=device)
    k = noise(1, key_heads, rows, 8, seed=2, device=device)
    v = noise(1, key_heads, rows, value_width, seed=3, device=device)
    got = DecodeLayout(cache, used, group, prefix).attend(1, q, k, v, SCALE)
    assert got.shape == (1, rows, query_heads, value_width)
    for row, (n, place) in enumerate(zip(used, group, strict=True)):
        if place < 0:
            continue
        size = prefix[place]
        keys = [cache.prefix_k[1][place, :, :size], own_k[row, :, :n], k[0, :, row : row + 1]]
        values = [
            cache.prefix_v[1][place, :, :size, :value_width],
            own_v[row, :, :n, :value_width],
            v[0, :, row : row + 1],
        ]
        want = slow_attention(q[0, :, row], torch.cat(keys, 1), torch.cat(values, 1))
        torch.testing.assert_close(got[0, row].double(), want, atol=1e-5, rtol=1e-5)


def test_a_decode_step_writes_one_token_of_one_layer():
    cache = Cache(shape_of(), slots=3, answer_tokens=4, groups=1, prompt_tokens=2)
    k, v = noise(1, 2, 3, 8, seed=1), noise(1, 2, 3, 8, seed=2)
    DecodeLayout(cache, [0, 3, 1], [0, 0, 0], [2]).attend(0, noise(1, 4, 3, 8), k, v, SCALE)
    for row, place in ((0, 0), (1, 3), (2, 1)):
        assert torch.equal(cache.own_k[0][row, :, place], k[0, :, row])
        assert torch.equal(cache.own_v[0][row, :, place], v[0, :, row])
    assert int((cache.own_k[0] != 0).any(-1).sum()) == 3 * 2
    assert not cache.own_k[1].any()
    assert not cache.prefix_k[0].any()


def test_prefill_puts_each_prompt_in_its_place():
    cache = Cache(shape_of(), slots=1, answer_tokens=1, groups=4, prompt_tokens=5)
    lengths, places = [2, 5, 1], [3, 0, 2]
    q, k = noise(1, 4, 8, 8, seed=1), noise(1, 2, 8, 8, seed=2)
    v = noise(1, 2, 8, 5, seed=3)
    out = PrefillLayout(cache, lengths, places).attend(1, q, k, v, SCALE)
    start = 0
    for length, place in zip(lengths, places, strict=True):
        span = slice(start, start + length)
        assert torch.equal(cache.prefix_k[1][place, :, :length], k[0, :, span])
        assert torch.equal(cache.prefix_v[1][place, :, :length, :5], v[0, :, span])
        assert not cache.prefix_v[1][place, :, :length, 5:].any()
        for t in range(length):  # causal, within the prompt
            seen = slice(start, start + t + 1)
            want = slow_attention(q[0, :, start + t], k[0, :, seen], v[0, :, seen])
            torch.testing.assert_close(out[0, start + t].double(), want, atol=1e-5, rtol=1e-5)
        start += length
    assert not cache.prefix_k[1][1].any()
    assert not cache.prefix_k[0].any()


def test_moving_copies_the_live_tokens_of_all_layers():
    cache = Cache(shape_of(layers=3), slots=4, answer_tokens=5, groups=3, prompt_tokens=6)
    for i, tensor in enumerate((*cache.own_k, *cache.own_v, *cache.prefix_k, *cache.prefix_v)):
        tensor.copy_(noise(*tensor.shape, seed=i))
    own = [t.clone() for t in (*cache.own_k, *cache.own_v)]
    prefix = [t.clone() for t in (*cache.prefix_k, *cache.prefix_v)]
    cache.move_slot(3, 1, 4)
    cache.move_prefix(2, 0, 6)
    for after, before in zip((*cache.own_k, *cache.own_v), own, strict=True):
        before[1, :, :4] = before[3, :, :4]
        assert torch.equal(after, before)
    for after, before in zip((*cache.prefix_k, *cache.prefix_v), prefix, strict=True):
        before[0] = before[2]
        assert torch.equal(after, before)


def test_bytes_of_a_token():
    # 3 layers x (key + value) x 2 heads x 8 wide x 4 bytes
    assert shape_of(layers=3).token_bytes == 3 * 2 * 2 * 8 * 4
    cache = Cache(shape_of(layers=3), slots=4, answer_tokens=5, groups=3, prompt_tokens=6)
    rooms = (cache.own_k, cache.own_v, cache.prefix_k, cache.prefix_v)
    held = sum(t.numel() * t.element_size() for room in rooms for t in room)
    assert held == 384 * ((4 + MIN_ROWS) * 5 + 3 * 6)
