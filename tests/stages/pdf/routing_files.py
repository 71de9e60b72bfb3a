"""PDFs of every kind that the router has to tell apart, each page with the lane in which it belongs.

Words come from the lists below in random order, by a fixed seed; layouts, fonts and damages are made here.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics, ttfonts
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = A4
DEJAVU = Path("/usr/share/fonts/truetype/dejavu")
VERA = Path(ttfonts.__file__).parent.parent / "fonts"

WORDS = {
    "English": """the of and to in a is that for it was on with as by this are from at or which have an were been has
        not they their more these other about some time would into only could may first also than
        many measurement between temperature surface results method different system water energy
        study number shown model patients changes during population structure analysis control
        effect growth significant species higher process increase found particular important because
        government development research children history century people language world""",
    "German": """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden
        aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war
        haben nur oder aber vor zur bis mehr durch man sein wurde wenn können zwischen Untersuchung
        Ergebnisse Verfahren Temperatur Gesellschaft während Entwicklung unterschiedliche Messungen
        Bereich wissenschaftlich Möglichkeit Zusammenhang Jahre größer Lösung""",
    "French": """de la le et les des en un du une que est pour qui dans par plus pas au sur ne se sont avec il ce
        cette ont été aux comme mais ou si leur on elle être fait tout entre deux même aussi après
        nous peut sans dont très où température méthode résultats différents système développement
        recherche société première étude mesures structure énergie siècle gouvernement évolution
        surface élevée années français""",
    "Spanish": """de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí
        porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos
        durante todos uno les ni contra otros temperatura método resultados diferentes sistema
        desarrollo investigación sociedad estudio años estructura energía siglo gobierno evolución
        superficie población mediciones""",
    "Italian": """di e il la che in un per è una sono da non del si le con dei al come più della anche nel i ha alla
        gli questo o ma delle se suo lo tra essere stato loro ed degli temperatura metodo risultati
        diversi sistema sviluppo ricerca società prima studio misure struttura energia secolo
        governo evoluzione superficie""",
    "Dutch": """de van het een en in is dat op te zijn met voor die niet aan er om ook als bij maar dan nog uit door
        over wordt werd worden naar heeft hebben deze kan onderzoek resultaten temperatuur
        verschillende ontwikkeling samenleving metingen oppervlak werkwijze tussen eeuw regering
        groter oplossing jaren zoals""",
    "Swedish": """och i att det som en på är av för med den till inte om ett har de men var jag sig från vi så kan när
        eller vid efter över också där genom skulle under mellan temperatur undersökning resultat
        olika utveckling samhälle mätningar yta metod århundrade regering större lösning år""",
    "Finnish": """ja on oli ei se että hän mutta joka ovat myös kuin niin tai sen mukaan jo kanssa vain kun sekä
        vuonna noin ollut joita jälkeen välillä lämpötila tutkimus tulokset erilaiset kehitys
        yhteiskunta mittaukset pinta menetelmä vuosisata hallitus suurempi ratkaisu kaupungin
        suomalaisen""",
    "Turkish": """ve bir bu da de için ile olarak çok daha en gibi olan sonra kadar ancak her ne ya göre içinde
        tarafından yılında ilk iki ise arasında sıcaklık araştırma sonuçlar farklı gelişme toplum
        ölçümler yüzey yöntem yüzyıl hükümet büyük çözüm yapılan bulunan""",
    "Indonesian": """yang dan di dari untuk dengan pada ini dalam adalah itu tidak juga oleh sebagai akan lebih atau
        dapat telah mereka bahwa karena tersebut suhu penelitian hasil berbeda perkembangan
        masyarakat pengukuran permukaan cara abad pemerintah besar penyelesaian tahun antara""",
    "Latin": """et in est non ad ut cum de si quae quod ex sed per a esse sunt ab qui nec etiam atque eius quam enim
        autem aut hoc ac tamen haec inter omnia rerum natura populus bellum urbs homines tempore
        magna civitas""",
    "Russian": """и в не на что он с как это по но из за у от так же для был она к который мы все его до года при было
        или только также после между температура исследование результаты различных развитие общество
        измерения поверхность метод столетие правительство больше решение время работы человека
        система""",
    "Greek": """και το της η στο του με την να από για που είναι τα οι στην των δεν ένα σε μια αυτό ήταν όπως ή θα
        έχει κατά μετά μεταξύ θερμοκρασία έρευνα αποτελέσματα διαφορετικά ανάπτυξη κοινωνία
        μετρήσεις επιφάνεια μέθοδος αιώνας κυβέρνηση μεγαλύτερη λύση χρόνια""",
    "Polish": """i w na z się nie do to że jest o jak ale po co od za tym przez dla już jego był które oraz są być
        tak może między temperatura badania wyniki różne rozwój społeczeństwo pomiary powierzchnia
        metoda wieku rząd większy rozwiązanie lat również""",
    "Ukrainian": """і в не на що з як це та до за від у є для які року була його про але або також після між температура
        дослідження результати різних розвиток суспільство вимірювання поверхня метод століття уряд
        більше рішення""",
}
LATIN_1 = ("English", "German", "French", "Spanish", "Italian", "Dutch", "Swedish", "Finnish", "Indonesian", "Latin")
"""Languages that the fonts of every PDF reader can write."""


@dataclass(frozen=True)
class SuitePage:
    """A page of the suite."""

    kind: str
    draw: Callable[[Canvas], None]
    lanes: tuple[str, ...]  # in which it may be read
    truth: str = ""  # the words that a reader sees on it


@dataclass
class SuiteFile:
    """A document of the suite; all its pages share their fonts."""

    name: str
    pages: list[SuitePage] = field(default_factory=list)
    remap: Callable[[int], int] | None = None  # of the Unicode values that its embedded fonts tell
    has_real_witness: bool = False  # rule 4 decides: OCR itself should bear witness

    def write(self, folder: Path) -> Path:
        """Make the PDF."""
        path = folder / f"{self.name}.pdf"
        canvas = Canvas(str(path), pagesize=A4, invariant=True)
        with _told_as(self.remap):
            for page in self.pages:
                page.draw(canvas)
                canvas.showPage()
            canvas.save()
        return path


@contextmanager
def _told_as(remap: Callable[[int], int] | None) -> Iterator[None]:
    """While documents are written, let embedded fonts tell other Unicode values than those of their glyphs."""
    if remap is None:
        yield
        return
    original = ttfonts.makeToUnicodeCMap
    with mock.patch.object(
        ttfonts, "makeToUnicodeCMap", lambda name, subset: original(name, [remap(code) for code in subset])
    ):
        yield


def font(name: str, path: Path) -> str:
    """Register a font under a name of its own, so that each document embeds its own subset."""
    pdfmetrics.registerFont(ttfonts.TTFont(name, str(path)))
    return name


def prose(rng: random.Random, language: str, words: int) -> str:
    """Sentences of a language's words in random order, after Zipf."""
    known = WORDS[language].split()
    weights = [1 / (rank + 5) for rank in range(len(known))]
    sentences = []
    while words > 0:
        length = min(words, rng.randint(6, 18))
        words -= length
        chosen = rng.choices(known, weights, k=length)
        sentences.append(" ".join([chosen[0].capitalize(), *chosen[1:]]) + ".")
    return " ".join(sentences)


def lines_of(text: str, characters: int) -> list[str]:
    """Break a text into lines."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= characters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_lines(
    canvas: Canvas,
    lines: Sequence[str],
    name: str = "Times-Roman",
    size: float = 11,
    left: float = 72,
    top: float = 770,
    mode: int = 0,
) -> None:
    """Write lines below each other."""
    text = canvas.beginText(left, top)
    text.setFont(name, size)
    text.setTextRenderMode(mode)
    for line in lines:
        text.textLine(line)
    canvas.drawText(text)


def picture(
    draw: Callable[[Canvas], None], dpi: int = 96, tilt: float = 0.0, rng: random.Random | None = None
) -> Image.Image:
    """What a scanner makes of a page."""
    import pypdfium2 as pdfium

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=True)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    document = pdfium.PdfDocument(buffer.getvalue())
    page = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
    document.close()
    if tilt:
        page = page.rotate(tilt, fillcolor=255)
    if rng is not None:
        grain = np.random.default_rng(rng.randrange(1 << 30)).normal(0, 6, (page.height, page.width))
        page = Image.fromarray((np.asarray(page) + grain - 8).clip(0, 255).astype(np.uint8))
    return page


def draw_picture(
    canvas: Canvas, image: Image.Image, box: tuple[float, float, float, float] = (0, 0, WIDTH, HEIGHT)
) -> None:
    """Place a picture: left, bottom, width, height."""
    canvas.drawImage(ImageReader(image), *box)
