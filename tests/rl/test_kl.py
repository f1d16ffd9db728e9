import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.rl.kl import k1, k2, k3

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_values_by_hand():
    # pi = 1/2, ref = 1/4: log(pi/ref) = log 2; ref/pi = 1/2, so k3 = 1/2 + log 2 - 1
    logp, ref = torch.tensor(0.5, dtype=torch.float64).log(), torch.tensor(0.25).double().log()
    assert math.isclose(k1(logp, ref).item(), math.log(2))
    assert math.isclose(k2(logp, ref).item(), math.log(2) ** 2 / 2)
    assert math.isclose(k3(logp, ref).item(), math.log(2) - 0.5)


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    # the expectation under pi, written out over the three tokens
    truth = sum(p * math.log(p / q) for p, q in zip(P.tolist(), Q.tolist(), strict=True))
    for estimator in (k1, k3):
        assert math.isclose((P * estimator(P.log(), Q.log())).sum().item(), truth, rel_tol=1e-12)
    assert abs((P * k2(P.log(), Q.log())).sum().item() - truth) > 1e-3


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_k3_and_k2_are_never_negative(logp, ref):
    pair = torch.tensor(logp), torch.tensor(ref)
    assert k3(*pair) >= 0
    assert k2(*pair) >= 0


def test_k3_keeps_its_digits_near_zero():
    # k3 = x^2/2 + x^3/6 + ...; exp(x) - 1 - x in float32 would be 0 or noise here
    x = torch.tensor([1e-3, -1e-3], dtype=torch.float32)
    want = x.double().square() / 2 + x.double() ** 3 / 6
    torch.testing.assert_close(k3(torch.zeros(2), x).double(), want, rtol=2e-4, atol=0)
    assert k3(torch.tensor([-1.25]), torch.tensor([-1.25])).item() == 0.0


def test_gradient_of_k3_is_one_minus_ref_over_pi():
    logp = P.log().requires_grad_()
    k3(logp, Q.log()).sum().backward()
    torch.testing.assert_close(logp.grad, 1 - Q / P)
