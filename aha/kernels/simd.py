"""The inner loops of attention, in vector instructions.

Written as LLVM vectors because a loop in Python cannot say that the sums of several heads stay in
registers over all tokens; compilers keep them in memory, at a fifth of the speed. A vector is
as wide as the machine's registers, or narrower where a head is.
"""

# G = query heads per key head, D = head width, n = tokens, W = numbers in a vector
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from aha.kernels.low import LN2_HIGH, LN2_LOW, LOWEST, PER_LN2, POLYNOMIAL

_FEATURES = llvm.get_host_cpu_features()
_WIDEST, _REGISTERS = (16, 32) if _FEATURES.get("avx512f") else (8, 16)
_FLOAT, _SHORT, _INT, _LONG = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _lanes(width: int) -> int:
    """The widest vector that divides a head."""
    lanes = _WIDEST
    while width % lanes:
        lanes //= 2
    return lanes


class _Vectors:
    """Loads of W consecutive numbers from an address, as float32."""

    def __init__(self, builder: Any, lanes: int, kind: Any) -> None:
        self.builder, self.lanes = builder, lanes
        self.half = kind == types.uint16
        self.type = ir.VectorType(_FLOAT, lanes)

    def load(self, address: Any, *, half: bool) -> Any:
        b = self.builder
        if not half:
            return b.load(b.inttoptr(address, self.type.as_pointer()), align=4)
        short = ir.VectorType(_SHORT, self.lanes)
        bits = b.load(b.inttoptr(address, short.as_pointer()), align=2)
        wide = b.zext(bits, ir.VectorType(_INT, self.lanes))
        sixteen = ir.Constant(ir.VectorType(_INT, self.lanes), [16] * self.lanes)
        return b.bitcast(b.shl(wide, sixteen), self.type)

    def store(self, value: Any, address: Any) -> None:
        b = self.builder
        b.store(value, b.inttoptr(address, self.type.as_pointer()), align=4)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        """total + a * b in one rounding where the machine can."""
        flags = ["contract"]
        product = self.builder.fmul(a, b, flags=flags)
        return self.builder.fadd(total, product, flags=flags)

    def spread(self, value: Any) -> Any:
        """A number in all lanes."""
        b = self.builder
        one = b.insert_element(ir.Constant(self.type, ir.Undefined), value, ir.Constant(_INT, 0))
        zeros = ir.Constant(ir.VectorType(_INT, self.lanes), [0] * self.lanes)
        return b.shuffle_vector(one, ir.Constant(self.type, ir.Undefined), zeros)

    def same(self, value: float) -> Any:
        return ir.Constant(self.type, [value] * self.lanes)

    def total(self, value: Any) -> Any:
        zero = ir.Constant(_FLOAT, 0.0)
        return self._call("vector.reduce.fadd", _FLOAT, [zero, value], ["reassoc"])

    def highest(self, value: Any) -> Any:
        return self._call("vector.reduce.fmax", _FLOAT, [value], [])

    def larger(self, a: Any, b: Any) -> Any:
        """Lane by lane; a NaN in `b` is lost."""
        return self.builder.select(self.builder.fcmp_ordered(">", b, a), b, a)

    def exp(self, x: Any) -> Any:
        """e**x for x <= 0, as `low.exp` computes it; below -87 it stays e**-87. NaN stays NaN."""
        b = self.builder
        low = self.same(float(LOWEST))
        x = b.select(b.fcmp_ordered("<", x, low), low, x)
        whole = self.add_product(self.same(0.5), x, self.same(float(PER_LN2)))
        whole = self._call("floor", self.type, [whole], [])
        rest = self.add_product(x, whole, self.same(-float(LN2_HIGH)))
        rest = self.add_product(rest, whole, self.same(-float(LN2_LOW)))
        y = self.same(float(POLYNOMIAL[0]))
        for factor in POLYNOMIAL[1:]:
            y = self.add_product(self.same(float(factor)), y, rest)
        y = self.add_product(rest, y, b.fmul(rest, rest))
        y = b.fadd(y, self.same(1.0))
        ints = ir.VectorType(_INT, self.lanes)
        power = b.add(b.fptosi(whole, ints), ir.Constant(ints, [127] * self.lanes))
        power = b.shl(power, ir.Constant(ints, [23] * self.lanes))
        return b.fmul(y, b.bitcast(power, self.type))

    def _call(self, name: str, result: Any, values: list[Any], flags: list[str]) -> Any:
        kind = ir.FunctionType(result, [value.type for value in values])
        function = cgutils.get_or_insert_function(
            self.builder.module, kind, f"llvm.{name}.v{self.lanes}f32"
        )
        return self.builder.call(function, values, fastmath=flags)


def _offset(builder: Any, address: Any, count: Any, size: int) -> Any:
    """address + count * size bytes."""
    if isinstance(count, int):
        return builder.add(address, ir.Constant(_LONG, count * size))
    return builder.add(address, builder.mul(count, ir.Constant(_LONG, size)))


def _fetch(builder: Any, address: Any, size: int) -> None:
    """Ask for the cache lines of some bytes; nothing waits for them."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _INT, _INT, _INT])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, near, data = (ir.Constant(_INT, number) for number in (0, 3, 1))
    for line in range(0, size, 64):
        place = builder.inttoptr(_offset(builder, address, line, 1), pointer)
        builder.call(function, [place, read, near, data])


@intrinsic(prefer_literal=True)
def scores(
    typingctx: Any,
    q: Any,
    k: Any,
    out: Any,
    n: Any,
    longest: Any,
    G: Any,
    D: Any,
    kind: Any,
    ahead: Any,
) -> Any:
    """out[g * longest + t] = q[g] . k[t] for t < n.

    Addresses of q [G, D] float32, k [n, D] of `kind`, and out, float32. As much memory as k is
    fetched into the cache from the address `ahead` (a literal 0: nothing).
    """
    heads, width, number = G.literal_value, D.literal_value, kind.dtype
    fetching = not isinstance(ahead, types.IntegerLiteral)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at_q, at_k, at_out, count, stride, *_, next_row = args
        lanes = _lanes(width)
        vectors = _Vectors(builder, lanes, number)
        size = 2 if vectors.half else 4
        with cgutils.for_range(builder, count) as loop:
            row = _offset(builder, at_k, loop.index, width * size)
            if fetching:
                _fetch(builder, _offset(builder, next_row, loop.index, width * size), width * size)
            key = [
                vectors.load(_offset(builder, row, j, size), half=vectors.half)
                for j in range(0, width, lanes)
            ]
            for g in range(heads):
                total = ir.Constant(vectors.type, [0.0] * lanes)
                for j, part in enumerate(key):
                    place = _offset(builder, at_q, g * width + j * lanes, 4)
                    total = vectors.add_product(total, vectors.load(place, half=False), part)
                index = builder.add(builder.mul(stride, ir.Constant(_LONG, g)), loop.index)
                place = _offset(builder, at_out, index, 4)
                builder.store(
                    vectors.total(total), builder.inttoptr(place, _FLOAT.as_pointer()), align=4
                )
        return context.get_dummy_value()

    return types.void(q, k, out, n, longest, G, D, kind, ahead), generate


@intrinsic
def softmax(typingctx: Any, x: Any, n: Any) -> Any:
    """Softmax of n numbers at an address, in place. Up to 15 more after them are overwritten."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at_x, count = args
        vectors = _Vectors(builder, _WIDEST, types.float32)
        lanes = ir.Constant(_LONG, _WIDEST)
        steps = builder.sdiv(builder.add(count, ir.Constant(_LONG, _WIDEST - 1)), lanes)

        def each(loop: Any) -> Any:
            return _offset(builder, at_x, loop.index, 4 * _WIDEST)

        with cgutils.for_range(builder, builder.sub(builder.mul(steps, lanes), count)) as loop:
            place = _offset(builder, at_x, builder.add(count, loop.index), 4)
            lowest = ir.Constant(_FLOAT, float("-inf"))
            builder.store(lowest, builder.inttoptr(place, _FLOAT.as_pointer()), align=4)
        high = cgutils.alloca_once_value(builder, vectors.same(float("-inf")))
        with cgutils.for_range(builder, steps) as loop:
            value = vectors.load(each(loop), half=False)
            builder.store(vectors.larger(builder.load(high), value), high)
        top = vectors.spread(vectors.highest(builder.load(high)))
        total = cgutils.alloca_once_value(builder, vectors.same(0.0))
        with cgutils.for_range(builder, steps) as loop:
            share = vectors.exp(builder.fsub(vectors.load(each(loop), half=False), top))
            vectors.store(share, each(loop))
            builder.store(builder.fadd(builder.load(total), share), total)
        part = builder.fdiv(ir.Constant(_FLOAT, 1.0), vectors.total(builder.load(total)))
        part = vectors.spread(part)
        with cgutils.for_range(builder, steps) as loop:
            vectors.store(builder.fmul(vectors.load(each(loop), half=False), part), each(loop))
        return context.get_dummy_value()

    return types.void(x, n), generate


@intrinsic(prefer_literal=True)
def mixture(
    typingctx: Any,
    p: Any,
    v: Any,
    out: Any,
    n: Any,
    longest: Any,
    G: Any,
    D: Any,
    kind: Any,
    ahead: Any,
) -> Any:
    """out[g] += sum over t < n of p[g * longest + t] * v[t].

    Addresses of p, float32, v [n, D] of `kind`, and out [G, D] float32; `ahead` as in `scores`.
    """
    heads, width, number = G.literal_value, D.literal_value, kind.dtype
    fetching = not isinstance(ahead, types.IntegerLiteral)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at_p, at_v, at_out, count, stride, *_, next_row = args
        lanes = _lanes(width)
        vectors = _Vectors(builder, lanes, number)
        size = 2 if vectors.half else 4
        parts = width // lanes
        together = max(1, (_REGISTERS * 3 // 4) // parts)  # heads whose sums fit in registers
        for first in range(0, heads, together):
            some = range(first, min(heads, first + together))
            sums = {}
            for g in some:
                for j in range(parts):
                    sums[g, j] = cgutils.alloca_once(builder, vectors.type)
                    place = _offset(builder, at_out, g * width + j * lanes, 4)
                    builder.store(vectors.load(place, half=False), sums[g, j])
            with cgutils.for_range(builder, count) as loop:
                row = _offset(builder, at_v, loop.index, width * size)
                if fetching and not first:
                    start = _offset(builder, next_row, loop.index, width * size)
                    _fetch(builder, start, width * size)
                value = [
                    vectors.load(_offset(builder, row, j * lanes, size), half=vectors.half)
                    for j in range(parts)
                ]
                for g in some:
                    index = builder.add(builder.mul(stride, ir.Constant(_LONG, g)), loop.index)
                    place = _offset(builder, at_p, index, 4)
                    share = builder.load(builder.inttoptr(place, _FLOAT.as_pointer()), align=4)
                    share = vectors.spread(share)
                    for j in range(parts):
                        total = builder.load(sums[g, j])
                        builder.store(vectors.add_product(total, share, value[j]), sums[g, j])
            for g in some:
                for j in range(parts):
                    place = _offset(builder, at_out, g * width + j * lanes, 4)
                    vectors.store(builder.load(sums[g, j]), place)
        return context.get_dummy_value()

    return types.void(p, v, out, n, longest, G, D, kind, ahead), generate
