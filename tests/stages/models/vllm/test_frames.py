"""Messages arrive as they were sent, however the bytes between are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stages.models.vllm.frames import Frames, framed

VALUES = (
    st.none()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.text())
)


@given(st.lists(st.dictionaries(st.text(), VALUES)), st.data())
def test_messages_survive_any_cutting(messages: list[dict[str, object]], data: st.DataObject) -> None:
    content = b"".join(framed(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)))))
    frames = Frames()
    pieces = [content[begin:end] for begin, end in pairwise([0, *cuts, len(content)])]
    assert [message for piece in pieces for message in frames.fed(piece)] == messages
