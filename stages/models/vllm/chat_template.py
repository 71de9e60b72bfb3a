"""A message of a user as the model's tokens, in which the message's own text cannot end the user's turn.

Models mark turns by control tokens such as ``<|im_end|>``. A tokenizer finds them wherever they stand, also in a page
that is quoted, and the page would then speak as the system or as the model. So the template's text and the message's
are encoded apart, and the latter in pieces that part each control token's spelling after its first character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import MachineError

PLACE = "\ufdd0message\ufdd1"  # characters that Unicode keeps out of texts


class ChatTemplate:
    """The template and the tokenizer of a model."""

    def __init__(self, tokenizer: Any, model: str, options: Mapping[str, Any]) -> None:
        """
        Args:
            tokenizer: of the transformers library.
            model: its name, for messages.
            options: variables of the template, such as ``enable_thinking``.

        Raises:
            MachineError: the model has no template, or one that does not repeat the message as it stands.
        """
        if not tokenizer.chat_template:
            raise MachineError(f"the tokenizer of {model} has no chat template: name a model that follows instructions")
        message = [{"role": "user", "content": PLACE}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **options)
        if text.count(PLACE) != 1:
            raise MachineError(f"the chat template of {model} does not repeat the user's message once, as it stands")
        before, after = text.split(PLACE)
        self._tokenizer = tokenizer
        self._before, self._after = self._encoded(before), self._encoded(after)
        added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        control = {number: text for number, text in added.items() if len(text.strip()) > 1}
        self._control_ids = frozenset(control) - {tokenizer.unk_token_id}
        spellings = "|".join(re.escape(text) for text in sorted(control.values()))
        self._control = re.compile(f"(?=(?:{spellings}))") if spellings else None

    def token_ids(self, message: str) -> list[int]:
        """The prompt of a conversation that consists of this message.

        Raises:
            ValueError: the tokenizer makes a control token of the message's text all the same.
        """
        ids = self._encoded_as_text(message)
        if not self._control_ids.isdisjoint(ids):
            found = self._tokenizer.decode([i for i in ids if i in self._control_ids][:1])
            raise ValueError(f"the text holds {found!r}, which the tokenizer reads as a control token")
        return [*self._before, *ids, *self._after]

    def _encoded_as_text(self, message: str) -> list[int]:
        # one character into each spelling, overlapping ones too: no piece holds a whole one
        cuts = [match.start() + 1 for match in self._control.finditer(message)] if self._control else []
        edges = [0, *cuts, len(message)]
        return [number for i in range(len(edges) - 1) for number in self._encoded(message[edges[i] : edges[i + 1]])]

    def _encoded(self, text: str) -> list[int]:
        # verbose: vLLM's own check tells of prompts that are too long
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []
