"""Native code for the CPU: what tensor operations do in many passes over memory, done in one.

    low      pointers, bfloat16, exp, and how a kernel is run on torch's own threads
    attend   attention of one new token per answer, over a shared prefix and its own tokens
    rows     RMSNorm with the residual, SwiGLU
    draw     sampling from logits

The kernels are compiled by numba when they are first needed (about a second each, kept on disk for
the next process); users need no compiler. Without numba `AVAILABLE` is False and callers take the
path of tensor operations, which computes the same.

A kernel takes one int64 array of numbers and addresses (`low.Arguments`). Callers keep the tensors
alive and check shapes: nothing here can.
"""

try:
    from aha.kernels import low as _low

    AVAILABLE = _low.works()
except ImportError:  # no numba for this Python or this machine
    AVAILABLE = False
