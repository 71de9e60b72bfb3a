"""The batches of a run: the order of its phases turned into tokens, for any rank, from any step on."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy_models.loader import STEPS_PLANNED_AT_ONCE
from proxy_models.packing import (
    DOCUMENTS_AT_ONCE,
    BestFit,
    PackedReader,
    PackingReport,
    best_fit,
    concatenated_report,
    document_numbers,
)
from proxy_models.phases import Phase, PhasedOrder
from proxy_models.shards import Integers, TokenReader, Tokens


class LoaderStateError(Exception):
    """A state that is not of this run. The message says in what they differ."""


@dataclass(frozen=True)
class LoaderState:
    """Where a run is: the next slot, and what must be the same for the slots to mean the same.

    fingerprint: a digest each of the tokens, the order and the packing; the number of ranks is not in it.
    """

    slot: int
    fingerprint: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"slot": self.slot, "fingerprint": dict(self.fingerprint)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "LoaderState":
        """Raises LoaderStateError for what to_dict cannot have made."""
        slot, fingerprint = saved.get("slot"), saved.get("fingerprint")
        if not isinstance(slot, int) or slot < 0 or not isinstance(fingerprint, Mapping):
            raise LoaderStateError(f"not a loader's state: {dict(saved)!r}")
        return cls(slot, dict(fingerprint))


class Batch(NamedTuple):
    """One rank's share of a step.

    sequences: int64 [B, context + 1]; inputs are [:, :-1], targets [:, 1:]. documents: int32, the same shape, the
    document of each position, counted from 0 in each sequence, -1 of padding; None unless asked for. is_target:
    bool [B, context], False where a target is padding or one of another sequence too; None if all count.
    """

    step: int
    phase: int
    sequences: Integers
    documents: NDArray[np.int32] | None
    is_target: NDArray[np.bool_] | None


class Loader:
    """The batches of a run, for any rank, from any step on."""

    def __init__(
        self,
        tokens: Tokens,
        phases: Sequence[Phase],
        seed: int = 0,
        max_epochs: float | None = None,
        packing: Literal["concatenated", "best_fit"] = "concatenated",
        has_documents: bool = False,
    ) -> None:
        """has_documents: number the documents, so that attention can stay within each.

        Raises MixtureError as PhasedOrder does; ShardError for another tokenizer than that of the tokens, or, with
        best-fit packing or documents, for a body that does not end with the end of a document.
        """
        tokens.check_tokenizer()
        self.tokens, self.has_documents = tokens, has_documents
        self.bodies = [tokens.train(source) for source in tokens.sources]
        self._reader = TokenReader(self.bodies)
        self._packed: dict[tuple[int, int], BestFit] = {}  # of source and context, all before the first batch
        self._packed_readers: dict[int, PackedReader] = {}
        self.packing = packing
        if packing == "concatenated":
            self.order = PhasedOrder(tokens.sources, phases, seed, max_epochs, self._concatenated_count)
        elif packing == "best_fit":
            self.order = PhasedOrder(
                tokens.sources, phases, seed, max_epochs, self._packed_count, self._packed_trained, are_divisible=False
            )
        else:
            raise ValueError(f"no packing {packing!r}; there are concatenated and best_fit")
        self.fingerprint = {
            "tokens": tokens.fingerprint,
            "order": _digest(
                [[dict(p.mixture), p.steps, p.batch, p.context] for p in phases], tokens.sources, seed, max_epochs
            ),
            "packing": _digest(packing, DOCUMENTS_AT_ONCE if packing == "best_fit" else 0),
        }

    def state(self, step: int) -> LoaderState:
        """Of a run that has done so many steps."""
        return LoaderState(self.order.slot_of(step), self.fingerprint)

    def step_of(self, state: LoaderState) -> int:
        """The step to go on with. Raises LoaderStateError for the state of another run."""
        names = sorted(set(self.fingerprint) | set(state.fingerprint))
        differing = [name for name in names if self.fingerprint.get(name) != state.fingerprint.get(name)]
        if differing:
            raise LoaderStateError(
                f"the state is of a run with another {' and another '.join(differing)} than this one, so its slot "
                f"{state.slot} means other data: continue with what it began with, or start anew"
            )
        try:
            return self.order.step_of(state.slot)
        except ValueError as error:
            raise LoaderStateError(str(error)) from error

    def batches(self, first_step: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """A rank's share of each step, in order, to the end of the run; see rank_share."""
        for step in range(first_step, self.order.steps):
            p = self.order.phase_of(step)
            order, batch = self.order.orders[p], self.order.phases[p].batch
            within = step - self.order.first_step(p)
            if step == first_step or within % STEPS_PLANNED_AT_ONCE == 0:
                planned = within
                last = min(within - within % STEPS_PLANNED_AT_ONCE + STEPS_PLANNED_AT_ONCE, self.order.phases[p].steps)
                draws = order.block(planned * batch, last * batch)
            rows = rank_share(batch, rank, ranks)
            now = slice((within - planned) * batch + rows.start, (within - planned) * batch + rows.stop)
            yield self._batch(step, p, draws.source[now], draws.sequence[now])

    def reports(self) -> dict[tuple[str, int], PackingReport]:
        """Of each source and context that the run reads: what is padded and cropped. Reads the sources' bodies."""
        reports = {}
        for d, source in enumerate(self.tokens.sources):
            for context in sorted({p.context for p in self.order.phases if p.mixture.get(source, 0.0) > 0}):
                if self.packing == "best_fit":
                    reports[source, context] = self._packed_at(d, context).report()
                else:
                    reports[source, context] = concatenated_report(self.bodies[d], context, self.tokens.eod)
        return reports

    def _batch(self, step: int, phase: int, source: Integers, sequence: Integers) -> Batch:
        context = self.order.phases[phase].context
        is_target = None
        if self.packing == "best_fit":
            rows, filled, is_target = self._packed_reader(context).read(source, sequence)
        else:
            rows = self._reader.rows(source, sequence * context, context + 1)
            filled = np.full(len(rows), context + 1)
        documents = document_numbers(rows, filled, self.tokens.eod) if self.has_documents else None
        return Batch(step, phase, rows, documents, is_target)

    def _packed_reader(self, context: int) -> PackedReader:
        if context not in self._packed_readers:
            packings = {d: packed for (d, at), packed in self._packed.items() if at == context}
            self._packed_readers[context] = PackedReader(packings, self._reader, self.tokens.eod)
        return self._packed_readers[context]

    def _packed_at(self, d: int, context: int) -> BestFit:
        if (d, context) not in self._packed:
            self._packed[d, context] = best_fit(self.bodies[d], context, self.tokens.eod)
        return self._packed[d, context]

    def _packed_count(self, d: int, context: int) -> int:
        return self._packed_at(d, context).sequence_count

    def _packed_trained(self, d: int, context: int) -> float:
        packed = self._packed_at(d, context)
        return max(packed.trained, 1) / max(packed.sequence_count, 1)

    def _concatenated_count(self, d: int, context: int) -> int:
        return self.bodies[d].sequence_count(context)


def rank_share(batch: int, rank: int, ranks: int) -> slice:
    """The rows of a global batch that one rank reads: contiguous, in the order of ranks, all within one of as many.

    W workers in each of R ranks are R * W ranks: worker w of rank r is r * W + w.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks}")
    return slice(batch * rank // ranks, batch * (rank + 1) // ranks)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
