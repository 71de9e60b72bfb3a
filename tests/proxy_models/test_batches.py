"""Batches: what a run reads is the same for any number of ranks and from any step on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_models.batches import Loader, LoaderState, LoaderStateError, rank_share
from proxy_models.loader import MixtureError, read_sequences
from proxy_models.model import Transformer, init_weights, sized
from proxy_models.phases import Phase
from proxy_models.prefetch import Prefetched
from proxy_models.shards import ShardError, TokenReader, Tokens, open_tokens

MAIN = Phase({"sums": 0.7, "sentences": 0.3}, steps=70, batch=5, context=16)
MID = Phase({"code": 0.6, "sums": 0.4}, steps=9, batch=3, context=32)


def loader_of(tokens: Tokens, packing: str = "concatenated", **settings: object) -> Loader:
    phases = [MAIN, MID] if packing == "concatenated" else [MAIN, Phase(MID.mixture, 9, 3, 16)]
    return Loader(tokens, phases, seed=1, packing=packing, **settings)


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_batches_are_the_sequences_of_the_order_phase_after_phase(tokens: Tokens, packing: str) -> None:
    loader = loader_of(tokens, packing)
    batches = list(loader.batches())
    assert [b.step for b in batches] == list(range(79))
    assert [b.phase for b in batches] == [0] * 70 + [1] * 9
    if packing == "concatenated":
        for p, phase in enumerate(loader.order.phases):
            draws = loader.order.orders[p].block(0, phase.slots)
            expected = read_sequences(TokenReader(loader.bodies), draws.source, draws.sequence, phase.context)
            assert np.array_equal(np.concatenate([b.sequences for b in batches if b.phase == p]), expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 3), st.sampled_from(["concatenated", "best_fit"]), st.sampled_from([0, 3, 69, 75])
)
def test_all_ranks_and_workers_together_read_the_global_batch_in_order(
    tokens: Tokens, ranks: int, workers: int, packing: str, first_step: int
) -> None:
    loader = loader_of(tokens, packing, has_documents=True)
    shares = [loader.batches(first_step, part, ranks * workers) for part in range(ranks * workers)]
    for whole, *parts in zip(loader.batches(first_step), *shares, strict=True):
        assert {part.step for part in parts} == {whole.step}
        assert np.array_equal(np.concatenate([part.sequences for part in parts]), whole.sequences)
        assert np.array_equal(np.concatenate([part.documents for part in parts]), whole.documents)
        # Workers w of rank r are r * workers + w: together the rows of that rank.
        rank = np.concatenate([part.sequences for part in parts[:workers]])
        batch = len(whole.sequences)
        assert np.array_equal(rank, whole.sequences[rank_share(batch, 0, ranks)])


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
@pytest.mark.parametrize("first_step", [1, 64, 70, 78, 79])
def test_a_run_resumed_by_its_state_on_other_ranks_reads_on(tokens: Tokens, packing: str, first_step: int) -> None:
    whole = [b.sequences for b in loader_of(tokens, packing).batches()]
    state = LoaderState.from_dict(loader_of(tokens, packing).state(first_step).to_dict())
    resumed = loader_of(tokens, packing)
    shares = [resumed.batches(resumed.step_of(state), rank, 2) for rank in range(2)]
    rest = [np.concatenate([part.sequences for part in parts]) for parts in zip(*shares, strict=True)]
    assert len(rest) == 79 - first_step
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[first_step:], strict=True))


def test_a_state_is_a_slot_and_a_fingerprint(tokens: Tokens) -> None:
    state = loader_of(tokens).state(72)
    assert state.slot == 70 * 5 + 2 * 3
    assert set(state.to_dict()) == {"slot", "fingerprint"}
    assert set(state.fingerprint) == {"tokens", "order", "packing"}


def test_the_state_of_another_run_is_refused_and_says_in_what_it_differs(tokens: Tokens, copied: Path) -> None:
    state = Loader(tokens, [MAIN], seed=1).state(3)
    others = {
        "order": [
            Loader(tokens, [MAIN], seed=2),
            Loader(tokens, [MAIN], seed=1, max_epochs=50),
            Loader(tokens, [MAIN, MID], seed=1),
            Loader(tokens, [Phase(MAIN.mixture, 70, 6, 16)], seed=1),
            Loader(tokens, [Phase(MAIN.mixture, 71, 5, 16)], seed=1),
            Loader(tokens, [Phase(MAIN.mixture, 70, 5, 32)], seed=1),
            Loader(tokens, [Phase({**MAIN.mixture, "sums": 0.71}, 70, 5, 16)], seed=1),
        ],
        "packing": [Loader(tokens, [MAIN], seed=1, packing="best_fit")],
        "tokens": [Loader(open_tokens(copied), [MAIN], seed=1)],
    }
    for name, loaders in others.items():
        for loader in loaders:
            with pytest.raises(LoaderStateError, match=f"of a run with another {name} than this one, so its slot 15"):
                loader.step_of(state)
    assert Loader(tokens, [MAIN], seed=1, has_documents=True).step_of(state) == 3


@pytest.mark.parametrize("saved", [{}, {"slot": "3", "fingerprint": {}}, {"slot": -1, "fingerprint": {}}, {"slot": 3}])
def test_what_is_no_state_is_refused(saved: dict[str, object]) -> None:
    with pytest.raises(LoaderStateError, match="not a loader's state"):
        LoaderState.from_dict(saved)


def test_a_slot_within_a_step_is_refused(tokens: Tokens) -> None:
    loader = loader_of(tokens)
    with pytest.raises(LoaderStateError, match="no step of this run begins at slot 4"):
        loader.step_of(LoaderState(4, loader.fingerprint))


@given(st.integers(0, 50), st.integers(1, 60))
def test_shares_of_ranks_are_contiguous_and_of_almost_equal_size(batch: int, ranks: int) -> None:
    shares = [rank_share(batch, rank, ranks) for rank in range(ranks)]
    assert [row for share in shares for row in range(batch)[share]] == list(range(batch))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_rank_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        rank_share(8, 2, 2)


def test_padding_is_no_target_and_of_no_document(tokens: Tokens) -> None:
    loader = loader_of(tokens, "best_fit", has_documents=True)
    trained = padded = repeated = 0
    for batch in loader.batches():
        is_padding = batch.documents[:, 1:] < 0
        assert not np.any(batch.is_target & is_padding)
        # The rest of a cut document begins with a token that was a target already.
        repeated += np.count_nonzero(~batch.is_target & ~is_padding)
        assert np.all(batch.sequences[:, :-1][~batch.is_target & ~is_padding] == tokens.eod)
        assert np.all(batch.sequences[batch.documents < 0] == tokens.eod)
        # A document is numbered anew after each end, and only there.
        ends = (batch.sequences[:, :-1] == tokens.eod) & batch.is_target
        assert np.array_equal(np.diff(batch.documents, axis=1)[batch.is_target], ends[batch.is_target])
        trained, padded = trained + batch.is_target.sum(), padded + is_padding.sum()
    assert 0 < repeated < padded < trained


def test_all_positions_of_concatenated_text_are_targets(tokens: Tokens) -> None:
    batch = next(loader_of(tokens, has_documents=True).batches())
    assert batch.is_target is None
    assert batch.documents.shape == batch.sequences.shape
    assert batch.documents.min() == 0
    assert next(loader_of(tokens).batches()).documents is None


def test_shares_of_a_mixture_are_of_trained_tokens(tokens: Tokens) -> None:
    # Short documents of unlike sizes leave unlike padding; as many sequences would not be as many tokens.
    phase = Phase({"sums": 0.5, "sentences": 0.5}, steps=50, batch=20, context=50)
    loader = Loader(tokens, [phase], packing="best_fit")
    draws = loader.order.orders[0].block(0, phase.slots)
    is_target = np.concatenate([b.is_target for b in loader.batches()])
    by_source = [int(is_target[draws.source == tokens.sources.index(s)].sum()) for s in phase.mixture]
    assert by_source[0] == pytest.approx(by_source[1], rel=0.01)
    reports = loader.reports()
    fill = [reports[s, 50].trained / reports[s, 50].sequences for s in phase.mixture]
    assert fill[1] > 1.2 * fill[0]


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_what_is_padded_and_cropped_is_reported_for_each_source_and_context(tokens: Tokens, packing: str) -> None:
    reports = loader_of(tokens, packing).reports()
    contexts = [16, 32] if packing == "concatenated" else [16, 16]
    assert set(reports) == {("sums", contexts[0]), ("sentences", 16), ("code", contexts[1]), ("sums", contexts[1])}
    for (source, context), report in reports.items():
        body = tokens.train(source)
        assert report.documents == body.documents
        assert report.trained + report.padded + report.repeated == report.sequences * context
        assert (report.padded == 0) == (packing == "concatenated")


def test_attention_stays_within_the_document_that_is_numbered(tokens: Tokens) -> None:
    """The numbers are what the model's mask takes: another first document changes nothing of the second's loss."""
    loader = Loader(tokens, [Phase({"sums": 1.0}, 1, 4, 64)], has_documents=True)
    batch = next(loader.batches())
    model = Transformer(sized("nano", tokens.vocabulary))
    init_weights(model, 0)
    sequences, documents = torch.from_numpy(batch.sequences), torch.from_numpy(batch.documents)
    changed = torch.where((documents == 0) & (sequences != tokens.eod), 5, sequences)
    later = documents[:, :-1] > 0
    with torch.no_grad():
        before, after = model.token_losses(sequences, documents), model.token_losses(changed, documents)
    assert torch.equal(before[later], after[later])
    assert not torch.equal(before[~later], after[~later])


def test_batches_read_ahead_are_the_batches(tokens: Tokens) -> None:
    loader = loader_of(tokens, "best_fit")
    with Prefetched(loader.batches()) as ahead:
        for one, other in zip(ahead, loader.batches(), strict=True):
            assert np.array_equal(one.sequences, other.sequences)


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_ids_above_two_bytes_are_read_as_they_are(tokens: Tokens, copied: Path, packing: str) -> None:
    wide = np.arange(tokens.vocabulary)
    wide[[7, 8]] = 69_999, 65_536
    manifest = json.loads((copied / "tokens.json").read_text()) | {"dtype": "uint32", "vocabulary": 70_000}
    (copied / "tokens.json").write_text(json.dumps(manifest))
    for path in copied.glob("*/*.bin"):
        path.write_bytes(wide[np.fromfile(path, dtype="<u2")].astype("<u4").tobytes())
    found = loader_of(open_tokens(copied), packing, has_documents=True).batches()
    for one, other in zip(loader_of(tokens, packing, has_documents=True).batches(), found, strict=True):
        assert np.array_equal(wide[one.sequences], other.sequences)
        assert np.array_equal(one.documents, other.documents)


@pytest.fixture
def copied(token_folder: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(token_folder, tmp_path / "tokens")
    (folder / "tokens.json").write_text((folder / "tokens.json").read_text() + "\n")
    return folder


def test_an_unknown_source_is_refused(tokens: Tokens) -> None:
    with pytest.raises(MixtureError, match="phase 1: no tokens of poems; the sources are sums, sentences, code"):
        Loader(tokens, [Phase({"poems": 1.0}, 1, 1, 16)])


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_a_mixture_that_the_tokens_cannot_serve_is_refused(tokens: Tokens, packing: str) -> None:
    with pytest.raises(MixtureError, match=r"source sums needs 400 reads .* largest feasible run .* steps, \d+ tokens"):
        Loader(tokens, [Phase({"sums": 1.0}, 100, 4, 512)], max_epochs=2, packing=packing)


def test_another_tokenizer_than_that_of_the_tokens_is_refused(copied: Path) -> None:
    path = copied / "tokenizer.json"
    path.write_text(path.read_text().replace("<eod>", "<end>"))
    with pytest.raises(ShardError, match=r"tokenizer\.json has sha256 .*, but the tokens were made with"):
        Loader(open_tokens(copied), [MAIN])


def test_an_unknown_packing_is_refused(tokens: Tokens) -> None:
    with pytest.raises(ValueError, match="no packing 'first_fit'; there are concatenated and best_fit"):
        Loader(tokens, [MAIN], packing="first_fit")
