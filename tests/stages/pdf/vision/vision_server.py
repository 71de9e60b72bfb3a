"""A chat server that is shown pictures of pages, and can tell which."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tests import chat_server
from tests.chat_server import ChatServer, Reply, completion
from tests.stages.pdf.vision.pages import HEIGHT, TOP, WIDTH

__all__ = ["Reply", "Request", "VisionServer", "completion"]


@dataclass
class Request(chat_server.Request):
    """A request about a page, counted by the page."""

    def __post_init__(self) -> None:
        self.picture = Image.open(io.BytesIO(self.image_png)).convert("RGB")

    @property
    def key(self) -> int | None:
        return self.page

    @property
    def page(self) -> int | None:
        """Number of the page in the picture; None for a picture that is no page of the tests'."""
        if {WIDTH, HEIGHT} & set(self.picture.size):
            return next(red for red, green, blue in self._corners() if (green, blue) == (7, 7))
        return None

    @property
    def turned(self) -> int:
        """Degrees by which the page is turned clockwise, by the edge at which its top is."""
        width, height = self.picture.size
        middles = [(width // 2, 0), (width - 1, height // 2), (width // 2, height - 1), (0, height // 2)]
        return 90 * [self.picture.getpixel(place) for place in middles].index(TOP)

    @property
    def half(self) -> str:
        """ "upper" or "lower", or "" for a whole page."""
        if max(self.picture.size) == HEIGHT:
            return ""
        return "upper" if self.picture.getpixel((self.picture.width // 2, 0)) == TOP else "lower"

    def _corners(self) -> list[Any]:
        width, height = self.picture.size
        return [self.picture.getpixel((x, y)) for x in (0, width - 1) for y in (0, height - 1)]


class VisionServer(ChatServer[Request]):
    """Answers `reply(request, times this page was asked about before)`."""

    def __init__(self, reply: Callable[[Request, int], Reply], port: int = 0) -> None:
        super().__init__(reply, port, Request)

    def pages(self) -> list[int | None]:
        """The pages that were asked about, sorted; without the pictures that are no pages."""
        return sorted(request.page for request in self.requests if request.page is not None)
