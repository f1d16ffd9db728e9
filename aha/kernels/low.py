"""What every kernel stands on: addresses, bfloat16, exp, and torch's own threads.

A kernel runs inside a parallel region of the OpenMP library that torch has loaded. A second pool of
threads would fight with the first for the cores (idle OpenMP threads spin for a while), so none is
made. Work is handed out row by row through an atomic counter: a slow core takes fewer rows.
"""

import ctypes
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic, overload
from torch import Tensor

FAST = {"reassoc", "contract", "nsz"}
"""Reductions may be reordered into vectors. NaN and infinity keep their meaning."""
CAREFUL = {"contract"}

f32 = np.float32


def _stamp() -> str:
    """Changes when any kernel does: compiled code on disk knows only its own file."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


STAMP = _stamp()


# -- memory by address --------------------------------------------------------------------------------


@intrinsic
def at(typingctx: Any, address: Any, kind: Any) -> Any:
    """An address as a pointer to numbers of `kind` (np.uint16 holds bfloat16)."""
    pointer = types.CPointer(kind.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, kind), generate


@intrinsic
def take(typingctx: Any, address: Any) -> Any:
    """Atomically add 1 to the int64 at the address; returns what stood there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


# -- numbers ------------------------------------------------------------------------------------------


@intrinsic
def as_float(typingctx: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def as_bits(typingctx: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@njit(forceinline=True)
def widen(x: Any) -> Any:
    """The bits of a bfloat16 as a float32."""
    return as_float(nb.uint32(nb.uint32(x) << nb.uint32(16)))


@njit(forceinline=True)
def narrow(x: Any) -> Any:
    """A float32 as the bits of a bfloat16, rounded to nearest even."""
    bits = as_bits(x)
    odd = nb.uint32((bits >> nb.uint32(16)) & nb.uint32(1))
    return nb.uint16(nb.uint32(bits + nb.uint32(0x7FFF) + odd) >> nb.uint32(16))


# Python bodies of the three are never run: numba takes the overloads below.
def load(x: Any, i: int) -> Any:
    """Element i of float32 or bfloat16 numbers, as a float32. (Inside kernels only.)"""
    raise NotImplementedError("for use inside kernels")


def store(x: Any, i: int, value: Any) -> None:
    """Put a float32 into element i, rounded to the numbers of x."""
    raise NotImplementedError("for use inside kernels")


def rounded(x: Any, value: Any) -> Any:
    """A float32 as x would hold it."""
    raise NotImplementedError("for use inside kernels")


_OPTIONS = {"forceinline": True}


@overload(load, jit_options=_OPTIONS)
def _load(x: Any, i: Any) -> Any:
    def bfloat16(x: Any, i: Any) -> Any:
        return widen(x[i])

    def float32(x: Any, i: Any) -> Any:
        return x[i]

    return bfloat16 if x.dtype == types.uint16 else float32


@overload(store, jit_options=_OPTIONS)
def _store(x: Any, i: Any, value: Any) -> Any:
    def bfloat16(x: Any, i: Any, value: Any) -> None:
        x[i] = narrow(value)

    def float32(x: Any, i: Any, value: Any) -> None:
        x[i] = value

    return bfloat16 if x.dtype == types.uint16 else float32


@overload(rounded, jit_options=_OPTIONS)
def _rounded(x: Any, value: Any) -> Any:
    def bfloat16(x: Any, value: Any) -> Any:
        return widen(narrow(value))

    def float32(x: Any, value: Any) -> Any:
        return value

    return bfloat16 if x.dtype == types.uint16 else float32


PER_LN2, LN2_HIGH, LN2_LOW = f32(1.44269504088896341), f32(0.693359375), f32(-2.12194440e-4)
POLYNOMIAL = (
    f32(1.9875691500e-4),
    f32(1.3981999507e-3),
    f32(8.3334519073e-3),
    f32(4.1665795894e-2),
    f32(1.6666665459e-1),
    f32(5.0000001201e-1),
)
_P0, _P1, _P2, _P3, _P4, _P5 = POLYNOMIAL
LOWEST, HIGHEST = f32(-87.0), f32(88.0)


@njit(fastmath=CAREFUL, forceinline=True)
def exp(x: Any) -> Any:
    """e**x in float32 within 2 units of the last place, in a form that compilers vectorise.

    0 below -87, infinity above 88; the polynomial is that of Cephes. NaN stays NaN.
    """
    inside = min(max(x, LOWEST), HIGHEST)
    whole = np.floor(inside * PER_LN2 + f32(0.5))
    rest = inside - whole * LN2_HIGH
    rest = rest - whole * LN2_LOW
    y = _P0
    y = y * rest + _P1
    y = y * rest + _P2
    y = y * rest + _P3
    y = y * rest + _P4
    y = y * rest + _P5
    y = y * rest * rest + rest + f32(1.0)
    power = as_float(nb.uint32(nb.uint32(nb.int32(whole) + nb.int32(127)) << nb.uint32(23)))
    y = y * power
    y = y if x >= LOWEST else f32(0.0)
    y = y if x <= HIGHEST else f32(np.inf)
    return y if x == x else x


@njit(fastmath=FAST, forceinline=True)
def highest(x: Any, start: int, end: int) -> Any:
    """The largest of the elements start .. end - 1."""
    high = load(x, start)
    for i in range(start, end):
        high = max(high, load(x, i))
    return high


@njit(forceinline=True)
def float_of(bits: Any) -> Any:
    """A float32 that travels in the low half of an argument."""
    return as_float(nb.uint32(bits & 0xFFFFFFFF))


def bits_of(x: float) -> int:
    return struct.unpack("<I", struct.pack("<f", x))[0]


def kind_of(dtype: torch.dtype) -> Any:
    """How kernels see a tensor of this dtype.

    Raises:
        ValueError: neither float32 nor bfloat16.
    """
    kinds = {torch.float32: np.float32, torch.bfloat16: np.uint16}
    if dtype not in kinds:
        raise ValueError(f"kernels know float32 and bfloat16, not {dtype}")
    return kinds[dtype]


# -- running ------------------------------------------------------------------------------------------

INLINE = {"fastmath": FAST, "forceinline": True, "error_model": "numpy"}
"""Options of the parts of a kernel: inlined, so that widths known to the kernel are constants."""
SIGNATURE = types.void(types.CPointer(types.int64))


def kernel(body: Any) -> Any:
    """Compile a function of one int64 pointer.

    Its argument 0 is the address of two counters: the next row, and a ticket (the number of the
    thread in this region). What it closes over is part of the key of its compiled code on disk: it
    names a local copy of STAMP, and beside that closes over numbers and number classes only.
    """
    options = {"nopython": True, "error_model": "numpy"}
    try:
        return cfunc(SIGNATURE, cache=True, **options)(body)
    except RuntimeError:  # no folder to keep it in may be written
        return cfunc(SIGNATURE, **options)(body)


def _region() -> Callable[[int, int, int], None] | None:
    """GOMP_parallel of the OpenMP library that torch uses; None if it cannot be found."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libgomp", "libomp", "libiomp5"):
        for path in sorted(folder.glob(f"{name}*")):
            try:
                start = ctypes.CDLL(str(path)).GOMP_parallel
            except (OSError, AttributeError):
                continue
            start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            start.restype = None
            return lambda code, data, threads: start(code, data, threads, 0)
    return None


GRAIN = 1 << 15
"""Numbers read or written below which a second thread costs more than it does; torch's own choice."""


def threads_for(work: int) -> int:
    """Threads for a kernel that touches so many numbers."""
    return min(torch.get_num_threads(), max(1, work // GRAIN))


_start = _region()
_direct = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Arguments:
    """The int64 array of a kernel, with its counters; kept and changed from call to call."""

    def __init__(self, size: int) -> None:
        self._counters = np.zeros(2, dtype=np.int64)
        self.values = np.zeros(1 + size, dtype=np.int64)
        self.values[0] = self._counters.ctypes.data
        self._address = self.values.ctypes.data

    def run(self, compiled: Any, threads: int) -> None:
        """Call a kernel on `threads` threads of torch's pool; returns when all rows are done."""
        self._counters[:] = 0
        if _start is None or threads == 1:
            _direct(compiled.address)(self._address)
        else:
            _start(compiled.address, self._address, threads)


def call(compiled: Any, work: int, *values: int | float | Tensor | None) -> None:
    """Call a kernel that touches `work` numbers.

    Of a tensor it gets the address, of a float the bits in float32, of None 0.
    """
    arguments = Arguments(len(values))
    arguments.values[1:] = [_word(value) for value in values]
    arguments.run(compiled, threads_for(work))


def _word(value: int | float | Tensor | None) -> int:
    if isinstance(value, Tensor):
        return value.data_ptr()
    if isinstance(value, float):
        return bits_of(value)
    return value or 0


def works() -> bool:
    """Are addresses 64 bits wide and numbers little-endian, as the kernels assume?"""
    return struct.calcsize("P") == 8 and struct.pack("<h", 1) == struct.pack("=h", 1)
