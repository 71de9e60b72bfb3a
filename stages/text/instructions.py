"""Machine instructions that numba has no words for, for kernels whose time they decide."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.cgutils import get_null_value, pointer_add
from numba.extending import intrinsic

LANES = 16  # numbers of 32 bits that ``add_eight_rows`` takes at a time: a register of AVX-512, two of AVX2

_BYTE, _WORD = ir.IntType(8), ir.IntType(64)
_ROWS = ir.VectorType(ir.IntType(32), 8)
_NUMBERS = ir.VectorType(ir.FloatType(), LANES)


@intrinsic  # type: ignore[untyped-decorator]
def borrowed_arrays(typing_context: Any, arrays: Any) -> Any:
    """The same named tuple with all its arrays, also those of named tuples within, borrowed as by ``borrowed``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _without_owners(context, builder, arrays, arguments[0])

    return arrays(arrays), code


def _without_owners(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.BaseNamedTuple):
        for i, field_kind in enumerate(kind.types):
            field = _without_owners(context, builder, field_kind, builder.extract_value(value, i))
            value = builder.insert_value(value, field, i)
    elif isinstance(kind, types.Array):
        view = context.make_array(kind)(context, builder, value)
        view.meminfo, view.parent = get_null_value(view.meminfo.type), get_null_value(view.parent.type)
        value = view._getvalue()
    return value


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing_context: Any, bits: Any) -> Any:
    """How many bits of a uint64 are set (int64)."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, bits: Any) -> Any:
    """How many bits of a uint64 lie below the lowest that is set (int64); 64 if none is."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def eight_bytes(typing_context: Any, data: Any, position: Any) -> Any:
    """``data[position:position + 8]`` as a uint64, the first byte lowest. The eight bytes must exist."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _address(context, builder, signature.args[0], arguments[0], arguments[1], 1)
        return builder.load(builder.bitcast(start, _WORD.as_pointer()), align=1)

    return types.uint64(data, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def copy_eight(typing_context: Any, source: Any, start: Any, target: Any, at: Any) -> Any:
    """``target[at:at + 8] = source[start:start + 8]`` of arrays of int32. The entries must exist."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from_ = _address(context, builder, signature.args[0], arguments[0], arguments[1], 4)
        to = _address(context, builder, signature.args[2], arguments[2], arguments[3], 4)
        entries = builder.load(builder.bitcast(from_, _ROWS.as_pointer()), align=4)
        builder.store(entries, builder.bitcast(to, _ROWS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def add_eight_rows(typing_context: Any, total: Any, matrix: Any, column: Any, rows: Any, first: Any) -> Any:
    """Add ``matrix[row, column:column + LANES]``, of float32, to that part of ``total`` for each of
    ``rows[first:first + 8]``, in this order. All of it must exist.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, matrix, column, rows, first = arguments
        columns = builder.extract_value(context.make_array(signature.args[1])(context, builder, matrix).shape, 1)
        part = _address(context, builder, signature.args[0], total, column, 4)
        part = builder.bitcast(part, _NUMBERS.as_pointer())
        numbers = builder.load(part, align=4)
        for i in range(8):
            at = builder.add(first, ir.Constant(_WORD, i))
            entry = _address(context, builder, signature.args[3], rows, at, 4)
            row = builder.sext(builder.load(builder.bitcast(entry, ir.IntType(32).as_pointer()), align=4), _WORD)
            start = builder.add(builder.mul(row, columns), column)
            start = _address(context, builder, signature.args[1], matrix, start, 4)
            numbers = builder.fadd(numbers, builder.load(builder.bitcast(start, _NUMBERS.as_pointer()), align=4))
        builder.store(numbers, part, align=4)
        return context.get_dummy_value()

    return types.void(total, matrix, types.int64, rows, types.int64), code


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, entry_size: int) -> Any:
    """Pointer to an entry of a contiguous array, whatever its shape."""
    data = context.make_array(array_type)(context, builder, array).data
    return pointer_add(builder, data, builder.mul(index, ir.Constant(_WORD, entry_size)), _BYTE.as_pointer())
