"""The documents of the router's suite: over 200 pages, each with the lane in which it belongs."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw
from reportlab.lib.colors import Color, white
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from tests.stages.pdf.routing_files import (
    DEJAVU,
    HEIGHT,
    LATIN_1,
    VERA,
    WIDTH,
    WORDS,
    SuiteFile,
    SuitePage,
    draw_lines,
    draw_picture,
    font,
    lines_of,
    picture,
    prose,
)

Draw = Callable[[Canvas], None]
WHOLE = (0.0, 0.0, WIDTH, HEIGHT)


def documents() -> list[SuiteFile]:
    """All of them; those in other scripts only where the fonts for these are installed."""
    rng = random.Random(20_26)
    made = [
        *_prose(rng),
        *_cjk(rng),
        _tables(rng),
        _signs(rng),
        _layouts(rng),
        _sparse(rng),
        _slides(rng),
        *_ciphers(rng),
        *_lost_letters(rng),
        *_broken_maps(rng),
        _scans(rng),
        _strips(rng),
        _outlined(rng),
        _good_layers(rng),
        _bad_layers(rng),
        _blank(rng),
    ]
    return [document for document in made if document.pages]


def _lines(draw_with: str, size: float, text: str, **how: float) -> Draw:
    width = how.pop("characters", 82)
    return partial(draw_lines, lines=lines_of(text, int(width)), name=draw_with, size=size, **how)  # type: ignore[arg-type]


def _text(kind: str, text: str, name: str = "Times-Roman", **how: float) -> SuitePage:
    return SuitePage(kind, _lines(name, 11, text, **how), ("text",), text)


def _each(*draws: Draw) -> Draw:
    def draw(canvas: Canvas) -> None:
        for one in draws:
            one(canvas)

    return draw


def _prose(rng: random.Random) -> list[SuiteFile]:
    """Running text in many languages, long and short."""
    made = []
    for language in WORDS:
        name = "Times-Roman"
        if language not in LATIN_1:
            path = DEJAVU / "DejaVuSerif.ttf"
            if not path.exists():
                continue
            name = font(f"Serif{language}", path)
        texts = [prose(rng, language, words) for words in (300, 120, 30)]
        made.append(SuiteFile(f"prose_{language}", [_text(f"prose {language}", text, name) for text in texts]))
    return made


def _cjk(rng: random.Random) -> list[SuiteFile]:
    made = []
    for language, name, letters in (
        (
            "Chinese",
            "STSong-Light",
            "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子",
        ),
        (
            "Japanese",
            "HeiseiMin-W3",
            "のにはをたがでてとしれさある日本年人大会国社会研究結果方法温度測定システム開発ことするから",
        ),
        ("Korean", "HYSMyeongJo-Medium", "이다는을의에고하가지도로사기어리나해한시대인정자수있것연구결과방법온도측정"),
    ):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
        text = " ".join("".join(rng.choices(letters, k=rng.randint(6, 30))) + "。" for _ in range(30))
        made.append(SuiteFile(f"prose_{language}", [_text(f"prose {language}", text, name, characters=40)]))
    return made


def _tables(rng: random.Random) -> SuiteFile:
    """Numbers, prices, names in columns."""

    def grid(rows: list[list[str]]) -> Draw:
        def draw(canvas: Canvas) -> None:
            canvas.setFont("Helvetica", 9)
            for row, cells in enumerate(rows):
                for column, cell in enumerate(cells):
                    canvas.drawString(72 + 85 * column, 760 - 15 * row, cell)

        return draw

    pages = []
    for count in (30, 42, 12):
        numbers = [[f"{rng.uniform(0, 999):.2f}" for _ in range(5)] for _ in range(count)]
        pages.append(SuitePage("table of numbers", grid([["Year", "Mean", "SD", "Min", "Max"], *numbers]), ("text",)))
    for count in (25, 35):
        codes = [
            ["".join(rng.choices(string.ascii_uppercase, k=3)) + f"-{rng.randrange(9999)}", f"{rng.randrange(500)} EUR"]
            + ["".join(rng.choices(string.ascii_uppercase + string.digits, k=6)) for _ in range(3)]
            for _ in range(count)
        ]
        pages.append(SuitePage("table of part numbers", grid(codes), ("text",)))
    for count in (20, 30):
        names = [
            [
                rng.choice(_NAMES),
                rng.choice(_NAMES),
                f"{rng.randrange(1, 99)}",
                rng.choice(("M", "F")),
                rng.choice(_NAMES),
            ]
            for _ in range(count)
        ]
        pages.append(SuitePage("table of names", grid(names), ("text",)))
    return SuiteFile("tables", pages, has_real_witness=True)


_NAMES = (
    "Nguyen",
    "Okonkwo",
    "Szczepański",
    "Kjærsgaard",
    "Wójcik",
    "Mbeki",
    "Yamamoto",
    "Hrvatović",
    "Öztürk",
    "Ximénez",
    "Papadopoulos",
    "Tshabalala",
    "Bjørnstad",
    "Qureshi",
    "Zhang",
    "Fitzgerald",
    "Krzyżewski",
    "Vásquez",
    "Ioannidis",
    "Nkemelu",
    "Abdulrahman",
    "Schwarzschild",
    "Liechtenstein",
    "Aguirre",
    "Bhattacharya",
    "Czerny",
    "Dvořák",
    "Eötvös",
    "Fjeldstad",
    "Ghirlandaio",
    "Hölderlin",
)
_CHEMICALS = (
    "2-(2H-benzotriazol-2-yl)-4,6-ditertpentylphenol",
    "4-methyl-m-phenylenediamine",
    "tris(2-chloroethyl)phosphate",
    "bis(2-ethylhexyl)phthalate",
    "N-methylpyrrolidone",
    "1,2-benzenedicarboxylic",
    "hexabromocyclododecane",
    "perfluorooctanoate",
    "dimethylacetamide",
    "trichloroethylene",
    "5-tert-butyl-2,4,6-trinitro-m-xylene",
    "dihydroxyanthraquinone",
    "nonylphenolethoxylate",
    "benzo[def]chrysene",
    "cyclohexane-1,2-dicarboxylic",
    "4,4'-diaminodiphenylmethane",
)


def _signs(rng: random.Random) -> SuiteFile:
    """What is no running text, and right all the same."""
    pages = []
    for _ in range(3):
        code = [
            f"{' ' * 4 * rng.randrange(4)}{rng.choice(_CODE)}".replace(
                "X", rng.choice(("tmp", "buf", "idx", "ptr", "cfg"))
            )
            for _ in range(40)
        ]
        pages.append(SuitePage("source code", partial(draw_lines, lines=code, name="Courier", size=9), ("text",)))
    for _ in range(3):
        entries = [
            f"{rng.choice(_NAMES)} {rng.choice(string.ascii_uppercase)}, {rng.choice(_NAMES)} "
            f"{rng.choice(string.ascii_uppercase)}{rng.choice(string.ascii_uppercase)}. "
            f"{prose(rng, 'English', 9)} Appl Phys {rng.randrange(1960, 2026)};{rng.randrange(99)}:{rng.randrange(9)}."
            for _ in range(22)
        ]
        pages.append(SuitePage("references", partial(draw_lines, lines=entries, size=8, left=30), ("text",)))
    for _ in range(3):
        entries = [
            f"{rng.randrange(999)} {rng.choice(_CHEMICALS)} {rng.randrange(100, 999)}-{rng.randrange(99)}-1"
            for _ in range(35)
        ]
        pages.append(SuitePage("chemicals", partial(draw_lines, lines=entries, size=9), ("text",)))
    for letters in ("ACGT", "ACDEFGHIKLMNPQRSTVWY"):
        rows = ["".join(rng.choices(letters, k=60)) for _ in range(30)]
        pages.append(
            SuitePage("sequences", partial(draw_lines, lines=rows, name="Courier", size=10), ("text",), " ".join(rows))
        )
    for _ in range(2):
        entries = [
            f"{prose(rng, 'English', 4).rstrip('.')} {'.' * rng.randint(20, 60)} {rng.randrange(300)}"
            for _ in range(30)
        ]
        pages.append(SuitePage("table of contents", partial(draw_lines, lines=entries, size=10), ("text",)))
    for _ in range(2):
        entries = [
            f"https://www.{rng.choice(_NAMES).lower()}.org/{rng.randrange(9999)}/wiki?id={rng.randrange(10**6)}"
            for _ in range(25)
        ]
        pages.append(SuitePage("addresses", partial(draw_lines, lines=entries, size=9), ("text",)))
    for _ in range(3):
        formulas = [f"{prose(rng, 'English', 8)} {_formula(rng)}" for _ in range(24)]
        pages.append(SuitePage("formulas", partial(draw_lines, lines=formulas, size=10), ("text",)))
    for _ in range(2):
        pages.append(_text("capitals", prose(rng, "English", 150).upper(), "Helvetica-Bold", characters=60))
    return SuiteFile("signs", pages, has_real_witness=True)


_CODE = (
    "for (int X = 0; X < n; ++X) {",
    "if (X == NULL || !X->next) { return -1; }",
    "static const uint32_t X_MASK = 0xFFu << 8;",
    "*X++ = (*q & 0x7f) | ((r >> 3) ^ s[X]);",
    "#define X(a, b) do { (a) ^= (b); } while (0)",
    "};",
    "std::unique_ptr<T[]> X{new T[n]};",
    "/* -------------------------------- */",
    'printf("%5d %s", X, argv[1]);',
)


def _formula(rng: random.Random) -> str:
    variables = "abcdfghkmnpqrstuvwxyz"
    return " ".join(
        f"{rng.choice(variables)} {rng.choice('=+-<>/')} {rng.choice(variables)}{rng.randrange(9)}" for _ in range(3)
    )


def _layouts(rng: random.Random) -> SuiteFile:
    """Text in columns, turned, on colour, beside pictures."""
    pages = []
    for size in (9.0, 8.0, 10.0):
        left, right = (prose(rng, "English", 260) for _ in range(2))
        draw = _each(
            _lines("Times-Roman", size, left, characters=48),
            _lines("Times-Roman", size, right, characters=48, left=320),
        )
        pages.append(SuitePage("two columns", draw, ("text",)))
    for degrees in (90, 180, 270):
        text = prose(rng, "English", 200)

        def turned_page(canvas: Canvas, text: str = text, degrees: int = degrees) -> None:
            canvas.setPageRotation(degrees)  # reportlab then takes the page's sides the other way round
            _lines("Times-Roman", 11, text, top=540)(canvas)

        def turned_text(canvas: Canvas, text: str = text, degrees: int = degrees) -> None:
            canvas.setPageRotation(0)
            canvas.saveState()
            canvas.translate(WIDTH / 2, HEIGHT / 2)
            canvas.rotate(degrees)
            _lines("Times-Roman", 11, text, left=-240, top=200)(canvas)
            canvas.restoreState()

        pages.append(SuitePage(f"page turned by {degrees}", turned_page, ("text",), text))
        pages.append(SuitePage(f"text turned by {degrees}", turned_text, ("text",), text))
    pale = Image.fromarray(np.random.default_rng(1).integers(225, 256, (200, 140), np.uint8))
    for _ in range(3):
        text = prose(rng, "English", 220)
        draw = _each(partial(draw_picture, image=pale), _lines("Times-Roman", 11, text))
        pages.append(SuitePage("text on a picture", draw, ("text",), text))
    for share in (0.2, 0.35, 0.4):
        text = prose(rng, "English", 150)
        box = (72.0, 60.0, 450.0, share * HEIGHT)
        draw = _each(partial(draw_picture, image=_photo(rng), box=box), _lines("Times-Roman", 11, text))
        pages.append(SuitePage("text and a photograph", draw, ("text",), text))
    for _ in range(2):
        text = prose(rng, "English", 120)

        def on_black(canvas: Canvas, text: str = text) -> None:
            canvas.setPageRotation(0)
            canvas.rect(0, 0, WIDTH, HEIGHT, fill=1)
            canvas.setFillColor(white)
            _lines("Helvetica", 12, text, characters=70)(canvas)

        pages.append(SuitePage("white on black", on_black, ("text",), text))
    for _ in range(2):
        text = prose(rng, "English", 120)

        def with_spam(canvas: Canvas, text: str = text) -> None:
            _lines("Helvetica", 12, text, characters=70)(canvas)
            canvas.setFillColor(white)
            _lines("Helvetica", 12, "buy cheap watches " * 60, top=400)(canvas)
            draw_lines(canvas, ["buy cheap watches " * 8] * 30, size=1, top=100)

        pages.append(SuitePage("white spam", with_spam, ("text",), text))
    return SuiteFile("layouts", pages)


def _photo(rng: random.Random) -> Image.Image:
    """A picture without text: soft blobs."""
    image = Image.new("L", (300, 200), 190)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, r = rng.randrange(300), rng.randrange(200), rng.randrange(10, 80)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=rng.randrange(60, 230))
    return image.resize((90, 60)).resize((600, 400))


def _sparse(rng: random.Random) -> SuiteFile:
    """Little text, which is all that there is."""
    pages = []
    for words in (
        "Chapter One",
        "Part II",
        "Contents",
        "Acknowledgements",
        "Appendix A",
        "Index",
        "FIN",
        "For my parents",
    ):
        draw = partial(draw_lines, lines=[words], name="Times-Bold", size=rng.choice((14, 24, 36)), left=200, top=500)
        pages.append(SuitePage("title", draw, ("text",), words))
    for number in (7, 212):
        draw = partial(draw_lines, lines=[str(number)], size=10, left=290, top=40)
        pages.append(SuitePage("page number", draw, ("text",), str(number)))
    for _ in range(3):
        text = prose(rng, "English", 12)
        pages.append(_text("few words", text, characters=50))

    def form(canvas: Canvas) -> None:
        for row in range(16):
            canvas.drawString(72, 740 - 40 * row, f"{WORDS['English'].split()[40 + row].capitalize()} of applicant:")
            canvas.rect(260, 735 - 40 * row, 250, 20)

    pages.append(SuitePage("form", form, ("text",)))
    return SuiteFile("sparse", pages)


def _slides(rng: random.Random) -> SuiteFile:
    pages = []
    for bullets in (3, 5, 6, 8):
        entries = [f"\u2022 {prose(rng, 'English', 7)}" for _ in range(bullets)]
        text = " ".join(entries)

        def slide(canvas: Canvas, entries: list[str] = entries) -> None:
            canvas.setFillColor(Color(0.85, 0.9, 1))
            canvas.rect(0, 0, WIDTH, HEIGHT, fill=1)
            canvas.setFillColor(Color(0, 0, 0.4))
            draw_lines(canvas, entries, "Helvetica", 14, left=50)

        pages.append(SuitePage("slide", slide, ("text",), text))
    return SuiteFile("slides", pages)


def _shift(by: int) -> Callable[[int], int]:
    """Letters of the alphabet by so many places."""

    def shifted(code: int) -> int:
        for first in (65, 97):
            if first <= code < first + 26:
                return first + (code - first + by) % 26
        return code

    return shifted


def _permuted(rng: random.Random) -> Callable[[int], int]:
    letters = list(range(97, 123))
    rng.shuffle(letters)
    table = {97 + i: letter for i, letter in enumerate(letters)} | {
        65 + i: letter - 32 for i, letter in enumerate(letters)
    }
    return lambda code: table.get(code, code)


def _ciphers(rng: random.Random) -> list[SuiteFile]:
    """Fonts that show one letter and tell another."""
    ways: list[tuple[str, Callable[[int], int]]] = [
        ("shift_-1", _shift(-1)),
        ("shift_3", _shift(3)),
        ("shift_13", _shift(13)),
        ("codes_-29", lambda code: code - 29 if code > 61 else code),
        ("codes_-31", lambda code: code - 31 if code > 63 else code),
        *((f"permutation_{i}", _permuted(rng)) for i in range(4)),
        ("accented", lambda code: code + 96 if code > 96 else code),
    ]
    made = []
    for name, remap in ways:
        cipher = font(f"Cipher{name}", VERA / "Vera.ttf")
        language = rng.choice(("English", "German", "French"))
        pages = []
        for words in (180, 140, 20):
            text = prose(rng, language, words)
            pages.append(SuitePage(f"cipher {name}", _lines(cipher, 11, text, characters=75), ("ocr",), text))
        heading = "Results and Discussion"
        text = prose(rng, language, 120)
        draw = _each(
            partial(draw_lines, lines=[heading], name="Helvetica-Bold", size=16, top=800),
            _lines(cipher, 11, text, characters=75),
        )
        pages.append(SuitePage(f"cipher {name} below a sound heading", draw, ("ocr",), f"{heading} {text}"))
        made.append(SuiteFile(f"cipher_{name}", pages, remap, has_real_witness=True))
    path = DEJAVU / "DejaVuSans.ttf"
    if path.exists():

        def mojibake(code: int) -> int:
            return chr(code).encode("cp1251", "replace")[0] if code > 0x400 else code

        cipher = font("CipherCyrillic", path)
        pages = []
        for words in (180, 120):
            text = prose(rng, "Russian", words)
            pages.append(SuitePage("Cyrillic told as Latin", _lines(cipher, 11, text, characters=70), ("ocr",), text))
        made.append(SuiteFile("cipher_cyrillic", pages, mojibake, has_real_witness=True))
    return made


def _lost_letters(rng: random.Random) -> list[SuiteFile]:
    """Fonts that tell nothing for one letter."""
    made = []
    for letter in "ecn":
        lossy = font(f"Lossy{letter}", VERA / "Vera.ttf")
        texts = [prose(rng, "English", words) for words in (300, 260)]
        pages = [
            SuitePage(f"without {letter}", _lines(lossy, 10, text, characters=85), ("ocr",), text) for text in texts
        ]
        remap = partial(lambda code, lost: 0x200B if code == lost else code, lost=ord(letter))
        made.append(SuiteFile(f"lost_{letter}", pages, remap, has_real_witness=True))
    return made


def _broken_maps(rng: random.Random) -> list[SuiteFile]:
    """Fonts that tell characters which stand for nothing."""
    ways: list[tuple[str, Callable[[int], int]]] = [
        ("private_use", lambda code: 0xE000 + code),
        ("replacement", lambda code: 0xFFFD if chr(code) in "etaoi" else code),
        ("control", lambda code: code % 27 + 1 if code > 96 else code),
        ("some_private_use", lambda code: 0xF000 + code if chr(code) in "gl" else code),
    ]
    made = []
    for name, remap in ways:
        broken = font(f"Broken{name}", VERA / "Vera.ttf")
        texts = [prose(rng, "English", words) for words in (200, 90)]
        pages = [SuitePage(f"map {name}", _lines(broken, 11, text, characters=75), ("ocr",), text) for text in texts]
        made.append(SuiteFile(f"map_{name}", pages, remap))
    return made


def _scans(rng: random.Random) -> SuiteFile:
    """Pictures of pages, without a text layer or with next to none."""
    pages = []
    for index in range(12):
        text = prose(rng, rng.choice(("English", "German", "French")), rng.randint(40, 220))
        image = picture(_lines("Times-Roman", 12, text), tilt=(0, 0.6, -0.8)[index % 3], rng=rng if index % 2 else None)
        draws: list[Draw] = [partial(draw_picture, image=image)]
        kind = "scan"
        if index % 4 == 1:
            kind = "scan with a stamp"
            draws.append(
                partial(draw_lines, lines=[f"EXHIBIT {index:06d}"], name="Helvetica", size=8, left=450, top=20)
            )
        pages.append(SuitePage(kind, _each(*draws), ("ocr",), text))
    for degrees in (90, 180, 270):
        text = prose(rng, "English", 150)
        image = picture(_lines("Times-Roman", 12, text)).rotate(degrees, expand=True)
        pages.append(SuitePage(f"scan turned by {degrees}", partial(draw_picture, image=image), ("ocr",), text))
    for _ in range(3):
        text = prose(rng, "English", 150)
        image = picture(_lines("Times-Roman", 12, text))

        def in_form(canvas: Canvas, image: Image.Image = image) -> None:
            name = f"form{id(image)}"
            canvas.beginForm(name)
            draw_picture(canvas, image)
            canvas.endForm()
            canvas.doForm(name)

        pages.append(SuitePage("scan within a form", in_form, ("ocr",), text))
    for _ in range(3):
        text = prose(rng, "English", 100)
        image = picture(_lines("Times-Roman", 12, text), dpi=60)

        def inline(canvas: Canvas, image: Image.Image = image) -> None:
            canvas.drawInlineImage(image, *WHOLE)

        pages.append(SuitePage("scan inline", inline, ("ocr",), text))
    for _ in range(3):
        text = prose(rng, "English", 110)
        caption = "Fig. 3. Facsimile of the letter, reproduced by courtesy of the National Archives."
        image = picture(_lines("Times-Roman", 14, text, characters=60))
        draws = [
            partial(draw_picture, image=image, box=(40, 100, 500, 700)),
            partial(draw_lines, lines=[caption], size=9, top=60),
        ]
        pages.append(SuitePage("facsimile with a caption", _each(*draws), ("ocr",), text))
    return SuiteFile("scans", pages)


def _strips(rng: random.Random) -> SuiteFile:
    """Scans cut into strips or tiles, none of which covers much."""
    pages = []
    for rows, columns in ((20, 1), (62, 1), (8, 6), (1, 30), (120, 1)):
        text = prose(rng, "English", 160)
        image = picture(_lines("Times-Roman", 12, text))

        def tiled(canvas: Canvas, image: Image.Image = image, rows: int = rows, columns: int = columns) -> None:
            for row in range(rows):
                for column in range(columns):
                    box = (
                        column * image.width // columns,
                        row * image.height // rows,
                        (column + 1) * image.width // columns,
                        (row + 1) * image.height // rows,
                    )
                    left, height = column * WIDTH / columns, HEIGHT / rows
                    draw_picture(canvas, image.crop(box), (left, HEIGHT - (row + 1) * height, WIDTH / columns, height))
            draw_lines(
                canvas,
                ["Downloaded by the library of the university on 12 March 2019. For personal use only."],
                size=7,
                top=20,
            )

        pages.append(SuitePage(f"scan in {rows * columns} pieces", tiled, ("ocr",), text))
    logo = _photo(rng)
    for copies in (40, 200):
        text = prose(rng, "English", 60)

        def stacked(canvas: Canvas, text: str = text, copies: int = copies) -> None:
            for _ in range(copies):  # their areas add up to many pages, but they cover a corner
                draw_picture(canvas, logo, (72, 60, 150, 100))
            _lines("Times-Roman", 11, text)(canvas)

        pages.append(SuitePage("one picture many times", stacked, ("text",), text))
    return SuiteFile("strips", pages)


def _outlined(rng: random.Random) -> SuiteFile:
    """Text as outlines: shapes of letters, no characters."""
    pages = []
    for footer in ("", "", "Printed with the trial version of a program that draws its letters. Page 3 of 12."):
        text = prose(rng, "English", 120)

        def outlines(canvas: Canvas, text: str = text, footer: str = footer) -> None:
            _draw_outlines(canvas, lines_of(text, 75))
            if footer:
                draw_lines(canvas, [footer], size=8, top=30)

        pages.append(SuitePage("outlines", outlines, ("ocr",), text))
    return SuiteFile("outlines", pages)


def _draw_outlines(canvas: Canvas, lines: list[str], size: float = 11) -> None:
    import ctypes

    import pypdfium2 as pdfium
    import pypdfium2.raw as pdfium_c

    scratch = pdfium.PdfDocument.new()
    program = (VERA / "Vera.ttf").read_bytes()
    buffer = (ctypes.c_uint8 * len(program)).from_buffer_copy(program)
    loaded = pdfium_c.FPDFText_LoadFont(scratch.raw, buffer, len(program), pdfium_c.FPDF_FONT_TRUETYPE, True)
    x, y, width = ctypes.c_float(), ctypes.c_float(), ctypes.c_float()
    for row, line in enumerate(lines):
        left, base = 72.0, 770 - 1.3 * size * row
        for letter in line:
            if letter != " ":
                shape = pdfium_c.FPDFFont_GetGlyphPath(loaded, ord(letter), size)
                path = canvas.beginPath()
                curve = []
                for i in range(pdfium_c.FPDFGlyphPath_CountGlyphSegments(shape)):
                    segment = pdfium_c.FPDFGlyphPath_GetGlyphPathSegment(shape, i)
                    pdfium_c.FPDFPathSegment_GetPoint(segment, x, y)
                    point = (left + size * x.value, base + size * y.value)  # PDFium tells ems
                    kind = pdfium_c.FPDFPathSegment_GetType(segment)
                    if kind == pdfium_c.FPDF_SEGMENT_MOVETO:
                        path.moveTo(*point)
                    elif kind == pdfium_c.FPDF_SEGMENT_LINETO:
                        path.lineTo(*point)
                    else:
                        curve.append(point)
                        if len(curve) == 3:
                            path.curveTo(*curve[0], *curve[1], *curve[2])
                            curve = []
                canvas.drawPath(path, stroke=0, fill=1, fillMode=1)
            pdfium_c.FPDFFont_GetGlyphWidth(loaded, ord(letter), size, width)
            left += width.value or size / 3
    pdfium_c.FPDFFont_Close(loaded)
    scratch.close()


def _good_layers(rng: random.Random) -> SuiteFile:
    """Scans with what an OCR program has read, out of sight."""
    pages = []
    for index in range(14):
        text = prose(rng, rng.choice(("English", "German", "French", "Dutch")), rng.randint(60, 220))
        layer = _lines("Times-Roman", 12, _noisy(rng, text, 0.02))
        scan = partial(draw_picture, image=picture(_lines("Times-Roman", 12, text), rng=rng if index % 2 else None))
        if index % 3 == 0:
            kind, draws = "invisible layer over a scan", [scan, _lines("Times-Roman", 12, text, mode=3)]
        elif index % 3 == 1:
            kind, draws = "invisible layer under a scan", [_lines("Times-Roman", 12, text, mode=3), scan]
        else:
            kind, draws = "layer painted over by a scan", [layer, scan]
        pages.append(SuitePage(kind, _each(*draws), ("ocr_layer",), text))
    return SuiteFile("good_layers", pages)


def _noisy(rng: random.Random, text: str, share: float) -> str:
    """A text as a poor OCR program reads it: this share of the letters is something else."""
    return "".join(
        rng.choice("_~^|/\\{}[]<>*=;:.,'i1l!") if letter != " " and rng.random() < share else letter for letter in text
    )


def _bad_layers(rng: random.Random) -> SuiteFile:
    pages = []
    for index in range(10):
        text = prose(rng, "English", rng.randint(100, 200))
        layer = _noisy(rng, text, 0.35) if index % 2 else "".join(map(chr, map(_permuted(rng), map(ord, text))))
        scan = partial(draw_picture, image=picture(_lines("Times-Roman", 12, text)))
        draws = (
            [scan, _lines("Times-Roman", 12, layer, mode=3)] if index % 3 else [_lines("Times-Roman", 12, layer), scan]
        )
        pages.append(SuitePage("bad layer", _each(*draws), ("ocr",), text))
    return SuiteFile("bad_layers", pages)


def _blank(rng: random.Random) -> SuiteFile:
    def paper(level: float, grain: float, slope: float = 0.0) -> Image.Image:
        generator = np.random.default_rng(rng.randrange(1 << 30))
        field = level + generator.normal(0, grain, (1000, 700)) + slope * np.linspace(-1, 1, 700)
        return Image.fromarray(field.clip(0, 255).astype(np.uint8))

    def speckled(count: int) -> Image.Image:
        image = paper(250, 2)
        for _ in range(count):
            image.putpixel((rng.randrange(700), rng.randrange(1000)), 60)
        return image

    pages = [SuitePage("blank", lambda canvas: None, ("blank",)) for _ in range(3)]
    for image in (
        paper(255, 0),
        paper(235, 0),
        paper(245, 3),
        paper(225, 5),
        paper(240, 3, slope=8),
        speckled(10),
        speckled(25),
    ):
        pages.append(SuitePage("scan of an empty page", partial(draw_picture, image=image), ("blank",)))
    pages.append(SuitePage("spaces", partial(draw_lines, lines=["   "] * 40), ("blank",)))
    pages.append(SuitePage("invisible words", partial(draw_lines, lines=["trap"] * 5, mode=3), ("blank",)))

    def white_words(canvas: Canvas) -> None:
        canvas.setFillColor(white)
        draw_lines(canvas, ["nothing to see here"] * 9)

    pages.append(SuitePage("white words", white_words, ("blank",)))
    return SuiteFile("blank", pages)
