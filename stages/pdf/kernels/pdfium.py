"""Loops over the characters and objects of a page that call PDFium's C functions from compiled code.

A call through ctypes costs 0.4 to 0.6 microseconds, one from here 0.01, and a page asks some 20,000 questions.
Functions come as their addresses, documents as PDFium's handles, so that what is compiled can be kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from stages.kernel import kernel

CHARACTER_CALLS = (
    "FPDFText_GetUnicode",
    "FPDFText_IsGenerated",
    "FPDFText_IsHyphen",
    "FPDFText_HasUnicodeMapError",
    "FPDFText_GetTextObject",
    "FPDFText_GetCharBox",
    "FPDFText_GetLooseCharBox",
    "FPDFText_GetCharOrigin",
    "FPDFText_GetMatrix",
    "FPDFTextObj_GetFont",
    "FPDFTextObj_GetFontSize",
    "FPDFTextObj_GetTextRenderMode",
    "FPDFPageObj_GetFillColor",
    "FPDFPageObj_GetStrokeColor",
)
"""In the order in which ``read_characters`` takes their addresses."""

OBJECT_CALLS = (
    "FPDFPage_CountObjects",
    "FPDFPage_GetObject",
    "FPDFFormObj_CountObjects",
    "FPDFFormObj_GetObject",
    "FPDFPageObj_GetType",
    "FPDFPageObj_GetMatrix",
    "FPDFPageObj_GetBounds",
    "FPDFPageObj_GetClipPath",
    "FPDFClipPath_CountPaths",
    "FPDFClipPath_CountPathSegments",
    "FPDFClipPath_GetPathSegment",
    "FPDFPathSegment_GetPoint",
    "FPDFPath_GetDrawMode",
    "FPDFPath_CountSegments",
)
"""In the order in which ``read_objects`` takes their addresses."""

GENERATED, HYPHEN, UNMAPPED = 1, 2, 4
"""Bits of a character's flags: PDFium has inferred it from a gap; a word goes on after it; it has no Unicode value."""

FILLED, STROKED, INVISIBLE, CLIPPING = 0, 1, 3, 7
"""Text render modes (ISO 32000-1, table 106)."""

TEXT, PATH, IMAGE, SHADING, FORM = 1, 2, 3, 4, 5
"""Types of page objects (fpdf_edit.h)."""

MAX_FORM_DEPTH = 8
"""Of forms within forms; files nest them two or three deep."""
MAX_CLIP_POINTS = 64
"""Of the path that an object is clipped to: a longer one is no rectangle, and taken for its first points' bounds."""

MIN_GLYPH_HEIGHT, MAX_GLYPH_HEIGHT = 2.0, 40.0
MIN_GLYPH_SEGMENTS = 6
"""A filled path of a letter's height (points) with at least as many strokes as an "l" with serifs may be a glyph that
was drawn as an outline. A rectangle has 5."""


def _call(returned: Any) -> Any:
    """An intrinsic ``call(address, arguments)`` of a C function that returns this."""

    @intrinsic  # type: ignore[untyped-decorator]
    def call(typing_context: Any, address: Any, arguments: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = [context.get_value_type(kind) for kind in arguments.types]
            function = ir.FunctionType(context.get_value_type(returned), kinds)
            pointer = builder.inttoptr(values[0], function.as_pointer())
            return builder.call(pointer, [builder.extract_value(values[1], i) for i in range(len(kinds))])

        return returned(types.int64, arguments), build

    return call


call_int = _call(types.int32)
call_pointer = _call(types.int64)


@kernel
def read_characters(
    calls: Any,
    text_page: int,
    codes: Any,
    flags: Any,
    boxes: Any,
    origins: Any,
    runs: Any,
    objects: Any,
    fonts: Any,
    sizes: Any,
    matrices: Any,
    modes: Any,
    colours: Any,
) -> int:
    """Fill in what PDFium knows of each character, and of each run of characters that one text object drew.

    Args:
        calls: addresses of CHARACTER_CALLS, int64.
        text_page: FPDF_TEXTPAGE.
        codes: (n,) uint32, Unicode; 0 for what has none.
        flags: (n,) uint8.
        boxes: (n, 4) float64, left, bottom, right, top of the glyph in the page's own coordinates.
        origins: (n, 2) float64, where the glyph stands on its baseline.
        runs: (n,) int32, number of the run; -1 for characters that PDFium has inferred.
        objects, fonts: (runs,) int64, FPDF_PAGEOBJECT and FPDF_FONT.
        sizes: (runs,) float32, of the font, before the matrix.
        matrices: (runs, 6) float32, from text space to the page.
        modes: (runs,) int32, text render mode.
        colours: (runs, 4) uint32, red, green, blue, alpha of what the mode paints.

    Returns:
        The number of runs. Arrays of runs have to be as long as those of characters.
    """
    loose = np.empty(4, np.float32)  # left, top, right, bottom
    count = 0
    last = np.int64(0)
    for i in range(len(codes)):
        index = np.int32(i)
        codes[i] = np.uint32(call_int(calls[0], (text_page, index)))
        flag = 0
        if call_int(calls[1], (text_page, index)) == 1:
            flag |= GENERATED
        if call_int(calls[2], (text_page, index)) == 1:
            flag |= HYPHEN
        if call_int(calls[3], (text_page, index)) == 1:
            flag |= UNMAPPED
        flags[i] = flag
        at = boxes[i : i + 1].ctypes.data
        call_int(calls[5], (text_page, index, at, at + 16, at + 8, at + 24))  # takes left, right, bottom, top
        at = origins[i : i + 1].ctypes.data
        call_int(calls[7], (text_page, index, at, at + 8))
        if flag & GENERATED:
            runs[i] = -1
            continue
        has_outline = boxes[i, 2] > boxes[i, 0] and boxes[i, 3] > boxes[i, 1]
        if not has_outline and call_int(calls[6], (text_page, index, loose.ctypes.data)) == 1:  # take the advance
            boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = loose[0], loose[3], loose[2], loose[1]
        text_object = call_pointer(calls[4], (text_page, index))
        if text_object == 0:
            runs[i] = -1
            continue
        if text_object != last or count == 0:
            last = text_object
            objects[count] = text_object
            fonts[count] = call_pointer(calls[9], (text_object,))
            call_int(calls[10], (text_object, sizes[count : count + 1].ctypes.data))
            call_int(calls[8], (text_page, index, matrices[count : count + 1].ctypes.data))
            mode = call_int(calls[11], (text_object,))
            modes[count] = mode
            at = colours[count : count + 1].ctypes.data
            paint = calls[13] if mode == STROKED else calls[12]
            if call_int(paint, (text_object, at, at + 4, at + 8, at + 12)) == 0:
                colours[count, 0] = colours[count, 1] = colours[count, 2] = 0
                colours[count, 3] = 255
            count += 1
        runs[i] = count - 1
    return count


@kernel
def _narrowed(calls: Any, page_object: int, clip: Any, box: Any, point: Any) -> None:
    """Write to ``box`` the bounds of what an object may paint: ``clip`` and the object's own clip path."""
    box[:] = clip
    path = call_pointer(calls[7], (page_object,))
    if path == 0:
        return
    for number in range(call_int(calls[8], (path,))):
        segments = call_int(calls[9], (path, np.int32(number)))
        if segments <= 0:
            continue
        left, bottom, right, top = np.inf, np.inf, -np.inf, -np.inf
        for segment in range(min(segments, MAX_CLIP_POINTS)):
            handle = call_pointer(calls[10], (path, np.int32(number), np.int32(segment)))
            if handle == 0 or call_int(calls[11], (handle, point.ctypes.data, point.ctypes.data + 4)) == 0:
                continue
            left, right = min(left, point[0]), max(right, point[0])
            bottom, top = min(bottom, point[1]), max(top, point[1])
        box[0], box[1] = max(box[0], left), max(box[1], bottom)
        box[2], box[3] = min(box[2], right), min(box[3], top)


@kernel
def _bounds(calls: Any, painted: int, box: Any) -> bool:
    """Write to ``box`` (left, bottom, right, top; float32) an object's bounds in the coordinates of what holds it."""
    at = box.ctypes.data
    return bool(call_int(calls[6], (painted, at, at + 4, at + 8, at + 12)) != 0)


@kernel
def _moved(box: Any, matrix: Any, moved: Any) -> None:
    """Write to ``moved`` the bounds of a box (left, bottom, right, top) behind a matrix (a, b, c, d, e, f)."""
    moved[0] = moved[1] = np.inf
    moved[2] = moved[3] = -np.inf
    for corner in range(4):
        x, y = box[0 if corner & 1 else 2], box[1 if corner & 2 else 3]
        u = matrix[0] * x + matrix[2] * y + matrix[4]
        v = matrix[1] * x + matrix[3] * y + matrix[5]
        moved[0], moved[1] = min(moved[0], u), min(moved[1], v)
        moved[2], moved[3] = max(moved[2], u), max(moved[3], v)


@kernel
def read_objects(
    calls: Any, page: int, bounds: Any, texts: Any, text_clips: Any, images: Any, image_order: Any, counts: Any
) -> None:
    """Walk through what a page paints, forms included, in the order in which it is painted.

    Args:
        calls: addresses of OBJECT_CALLS, int64.
        page: FPDF_PAGE.
        bounds: (4,) float64, left, bottom, right, top of what the page shows.
        texts: (n, 2) int64 to fill: FPDF_PAGEOBJECT and place in the order of painting.
        text_clips: (n, 4) float64 to fill: what of the page these may paint.
        images: (m, 4) float64 to fill: the part of the page that each picture covers.
        image_order: (m,) int64 to fill: its place in the order of painting.
        counts: (4,) int64 to fill: texts, images, paths that may be glyphs, objects. The walk ends where ``texts`` is
            full or the objects are as many; more than ``images`` holds are left out.
    """
    box, clip, point = np.empty(4, np.float64), np.empty(4, np.float64), np.empty(2, np.float32)
    raw, matrix = np.empty(4, np.float32), np.empty(6, np.float32)
    moved, drawn = np.empty(4, np.float64), np.zeros(2, np.int32)
    # one level for the page, and one for each form that is open
    handles, lengths = np.zeros(MAX_FORM_DEPTH + 1, np.int64), np.zeros(MAX_FORM_DEPTH + 1, np.int64)
    places = np.zeros(MAX_FORM_DEPTH + 1, np.int64)
    matrices = np.zeros((MAX_FORM_DEPTH + 1, 6), np.float64)  # from the level's coordinates to the page's
    clips = np.zeros((MAX_FORM_DEPTH + 1, 4), np.float64)  # in the page's coordinates
    handles[0], lengths[0] = page, call_int(calls[0], (page,))
    matrices[0, 0] = matrices[0, 3] = 1.0
    clips[0] = bounds
    counts[:] = 0
    limit = len(texts)
    everywhere = np.array([-1e9, -1e9, 1e9, 1e9])
    level = 0
    while level >= 0 and counts[3] < limit:
        if places[level] >= lengths[level]:
            level -= 1
            continue
        place = np.int32(places[level])
        places[level] += 1
        painted = call_pointer(calls[1] if level == 0 else calls[3], (handles[level], place))
        if painted == 0:
            continue
        counts[3] += 1
        kind = call_int(calls[4], (painted,))
        if kind == PATH:
            if _bounds(calls, painted, raw):
                outer = matrices[level]
                scale = np.sqrt(np.abs(outer[0] * outer[3] - outer[1] * outer[2]))
                height, width = (raw[3] - raw[1]) * scale, (raw[2] - raw[0]) * scale
                if MIN_GLYPH_HEIGHT <= height <= MAX_GLYPH_HEIGHT and width <= 3 * MAX_GLYPH_HEIGHT:
                    call_int(calls[12], (painted, drawn.ctypes.data, drawn.ctypes.data + 4))
                    if drawn[0] != 0 and call_int(calls[13], (painted,)) >= MIN_GLYPH_SEGMENTS:
                        counts[2] += 1
            continue
        if kind != TEXT and kind != IMAGE and kind != FORM:
            continue
        _narrowed(calls, painted, everywhere, box, point)
        _moved(box, matrices[level], clip)
        clip[0], clip[1] = max(clip[0], clips[level, 0]), max(clip[1], clips[level, 1])
        clip[2], clip[3] = min(clip[2], clips[level, 2]), min(clip[3], clips[level, 3])
        if kind == TEXT:
            texts[counts[0], 0], texts[counts[0], 1] = painted, counts[3]
            text_clips[counts[0]] = clip
            counts[0] += 1
        elif kind == IMAGE:
            if counts[1] < len(images) and _bounds(calls, painted, raw):
                box[:] = raw
                _moved(box, matrices[level], moved)
                left, bottom = max(clip[0], moved[0]), max(clip[1], moved[1])
                right, top = min(clip[2], moved[2]), min(clip[3], moved[3])
                if right > left and top > bottom:
                    images[counts[1], 0], images[counts[1], 1] = left, bottom
                    images[counts[1], 2], images[counts[1], 3] = right, top
                    image_order[counts[1]] = counts[3]
                    counts[1] += 1
        elif level < MAX_FORM_DEPTH and call_int(calls[5], (painted, matrix.ctypes.data)):
            outer, inner = matrices[level], matrices[level + 1]
            inner[0] = matrix[0] * outer[0] + matrix[1] * outer[2]
            inner[1] = matrix[0] * outer[1] + matrix[1] * outer[3]
            inner[2] = matrix[2] * outer[0] + matrix[3] * outer[2]
            inner[3] = matrix[2] * outer[1] + matrix[3] * outer[3]
            inner[4] = matrix[4] * outer[0] + matrix[5] * outer[2] + outer[4]
            inner[5] = matrix[4] * outer[1] + matrix[5] * outer[3] + outer[5]
            level += 1
            handles[level], places[level] = painted, 0
            lengths[level] = call_int(calls[2], (painted,))
            clips[level] = clip


@kernel
def coverage(images: Any, orders: Any, bounds: Any, grid: Any, latest: Any) -> None:
    """Spread pictures over a grid of the page, so that strips add up and what is painted twice counts once.

    Args:
        images: (m, 4) float64, left, bottom, right, top.
        orders: (m,) int64, place in the order of painting, ascending.
        bounds: (4,) float64 of the page.
        grid: (rows, columns) float64 to fill: share of each cell that is covered, at most 1.
        latest: (rows, columns) int64 to fill: place of the last picture that covers most of the cell; 0 if none does.
    """
    rows, columns = grid.shape
    grid[:], latest[:] = 0.0, 0
    wide, high = (bounds[2] - bounds[0]) / columns, (bounds[3] - bounds[1]) / rows
    for i in range(len(images)):
        left, right = (images[i, 0] - bounds[0]) / wide, (images[i, 2] - bounds[0]) / wide
        bottom, top = (images[i, 1] - bounds[1]) / high, (images[i, 3] - bounds[1]) / high
        for row in range(max(int(bottom), 0), min(int(np.ceil(top)), rows)):
            share_y = min(top, row + 1.0) - max(bottom, float(row))
            for column in range(max(int(left), 0), min(int(np.ceil(right)), columns)):
                share = share_y * (min(right, column + 1.0) - max(left, float(column)))
                grid[row, column] = min(grid[row, column] + share, 1.0)
                if share > 0.5:
                    latest[row, column] = orders[i]
