"""PDFs made to exhaust their reader, object by object."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

CATALOG = "<< /Type /Catalog /Pages 2 0 R >>"
TEXT = b"BT /F1 12 Tf 72 720 Td (A sound page beside a hostile one, with enough words for a text layer.) Tj ET"
FONT = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"


def raw_pdf(path: Path, objects: Mapping[int, str | bytes]) -> Path:
    """A PDF of these objects, with a sound cross-reference table. Object 1 is the catalog."""
    content = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, body in sorted(objects.items()):
        places[number] = len(content)
        content += b"%d 0 obj\n" % number + (body if isinstance(body, bytes) else body.encode()) + b"\nendobj\n"
    start, size = len(content), max(objects) + 1
    content += b"xref\n0 %d\n" % size
    for number in range(size):
        at = places.get(number)
        content += b"0000000000 65535 f \n" if at is None else b"%010d 00000 n \n" % at
    content += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)
    path.write_bytes(content)
    return path


def stream(content: bytes, entries: str = "") -> bytes:
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def deflated_zeros(size: int) -> bytes:
    """Zeros in memory of a megabyte."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join((*parts, packer.flush()))


def page(content: int, box: Sequence[float] = (0, 0, 612, 792), resources: str = FONT, parent: int = 2) -> str:
    edges = " ".join(map(str, box))
    return (
        f"<< /Type /Page /Parent {parent} 0 R /MediaBox [{edges}] /Contents {content} 0 R "
        f"/Resources << {resources} >> >>"
    )


def page_tree(*numbers: int) -> str:
    kids = " ".join(f"{number} 0 R" for number in numbers)
    return f"<< /Type /Pages /Kids [{kids}] /Count {len(numbers)} >>"


def huge_page(path: Path) -> Path:
    """A page of 2,000 kilometres in both directions, then a sound one."""
    bodies = {1: CATALOG, 2: page_tree(3, 4), 3: page(5, (0, 0, 6e9, 6e9)), 4: page(5), 5: stream(TEXT)}
    return raw_pdf(path, bodies)


def picture_of_zeros(path: Path, size_bytes: int) -> Path:
    """A page that is a picture of so many zeros, which is a thousandth of it as a file, then a sound one."""
    side = int(size_bytes**0.5)
    entries = f"/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray /BitsPerComponent 8"
    picture = stream(deflated_zeros(size_bytes), f"{entries} /Filter /FlateDecode")
    drawing = stream(b"q 612 0 0 792 0 0 cm /X Do Q")
    return raw_pdf(
        path,
        {
            1: CATALOG,
            2: page_tree(3, 4),
            3: page(6, resources="/XObject << /X 7 0 R >>"),
            4: page(5),
            5: stream(TEXT),
            6: drawing,
            7: picture,
        },
    )


def text_of_zeros(path: Path, size_bytes: int) -> Path:
    """A page whose operators are so many zeros, packed, then a sound one."""
    zeros = stream(deflated_zeros(size_bytes), "/Filter /FlateDecode")
    return raw_pdf(path, {1: CATALOG, 2: page_tree(3, 4), 3: page(6), 4: page(5), 5: stream(TEXT), 6: zeros})


def nested_page_tree(path: Path, depth: int) -> Path:
    """Nodes of pages, each of which holds the next one; at the end a page."""
    nodes: dict[int, str | bytes] = {1: CATALOG}
    nodes |= {n: f"<< /Type /Pages /Kids [{n + 1} 0 R] /Count 1 /Parent {n - 1} 0 R >>" for n in range(2, depth + 2)}
    nodes |= {depth + 2: page(depth + 3, parent=depth + 1), depth + 3: stream(TEXT)}
    return raw_pdf(path, nodes)


def page_tree_in_a_circle(path: Path) -> Path:
    """Nodes of pages that hold each other, and claim a million pages."""
    nodes = {n: f"<< /Type /Pages /Kids [{o} 0 R {o} 0 R] /Count 1000000 >>" for n, o in ((2, 3), (3, 2))}
    return raw_pdf(path, {1: CATALOG, **nodes})


def form_that_draws_itself(path: Path) -> Path:
    """A page with a form that draws itself ten times, then a sound one."""
    form = stream(
        b"/X Do " * 10, "/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << /X 6 0 R >> >>"
    )
    own = page(7, resources="/XObject << /X 6 0 R >>")
    return raw_pdf(
        path, {1: CATALOG, 2: page_tree(3, 4), 3: own, 4: page(5), 5: stream(TEXT), 6: form, 7: stream(b"/X Do")}
    )


def forms_that_double(path: Path, depth: int) -> Path:
    """A page with a form that draws another twice, which draws another twice: 2 ** depth drawings; then a sound one."""
    bodies: dict[int, str | bytes] = {1: CATALOG, 2: page_tree(3, 4), 4: page(5), 5: stream(TEXT)}
    bodies[3] = page(6, resources="/XObject << /X 10 0 R >>")
    bodies[6] = stream(b"/X Do")
    for level in range(depth):
        inner = (
            f"/Resources << /XObject << /X {11 + level} 0 R >> >>" if level < depth - 1 else f"/Resources << {FONT} >>"
        )
        drawing = b"/X Do /X Do" if level < depth - 1 else TEXT
        bodies[10 + level] = stream(drawing, f"/Type /XObject /Subtype /Form /BBox [0 0 612 792] {inner}")
    return raw_pdf(path, bodies)


def length_that_refers_to_itself(path: Path) -> Path:
    """A page whose stream says that its length is the length of itself, then a sound one."""
    own = b"<< /Length 6 0 R >>\nstream\n" + TEXT + b"\nendstream"
    return raw_pdf(path, {1: CATALOG, 2: page_tree(3, 4), 3: page(6), 4: page(5), 5: stream(TEXT), 6: own})


def array_without_end(path: Path, depth: int) -> Path:
    """A page whose operators open arrays and dictionaries and close none, then a sound one."""
    opened = stream(b"[<<" * depth)
    return raw_pdf(path, {1: CATALOG, 2: page_tree(3, 4), 3: page(6), 4: page(5), 5: stream(TEXT), 6: opened})
