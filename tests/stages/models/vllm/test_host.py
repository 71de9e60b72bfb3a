"""The owner of one engine, over a program that stands in for it, dies and hangs."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.errors import MachineError
from stages.models.engine import Answer, Request
from stages.models.vllm import host as host_module
from stages.models.vllm.host import VllmHost
from stages.models.vllm.options import VllmOptions
from tests.stages.models.processes import await_that, is_alive, starts

REPOSITORY = Path(__file__).parents[4]
STAND_IN = (sys.executable, "-m", "tests.stages.models.vllm.stand_in_worker")
Hosts = Callable[..., VllmHost]


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setattr(host_module, "START_PAUSE_S", 0.05)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    made: list[VllmHost] = []

    def host(max_num_seqs: int = 4, **limits: float) -> VllmHost:
        options = VllmOptions("a-model", max_num_seqs=max_num_seqs)
        made.append(VllmHost(options, program=(*STAND_IN, str(tmp_path)), **limits))
        return made[-1]

    yield host
    for each in made:
        each.close()


def requests(*prompts: str, tokens: int = 1) -> list[tuple[int, Request]]:
    return [(number, Request(prompt, tokens)) for number, prompt in enumerate(prompts)]


def answers(host: VllmHost, asked: list[tuple[int, Request]], client: str = "me") -> dict[int, str]:
    """What becomes of each request: its text, or the reason why there is none. Fails if one is answered twice."""
    found: dict[int, str] = {}
    left = asked
    ends = time.monotonic() + 60
    while len(found) < len(asked):
        assert time.monotonic() < ends, found
        for number, answer in host.exchange(client, left, 5.0).finished:
            assert number not in found
            found[number] = answer.text if isinstance(answer, Answer) else answer.reason
        left = []
    return found


# -- the common case


def test_the_engine_is_started_when_first_needed_and_stays(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts()
    assert host.pid is None
    assert answers(host, requests("one", "two")) == {0: "ONE", 1: "TWO"}
    assert answers(host, requests("three")) == {0: "THREE"}
    assert starts(tmp_path) == 1


def test_a_call_returns_as_soon_as_something_has_finished_or_the_time_is_up(hosts: Hosts) -> None:
    host = hosts()
    answers(host, requests("first"))
    began = time.monotonic()
    done = host.exchange("me", [(7, Request("quick", 1)), (8, Request("endless", 1))], 30.0).finished
    assert [number for number, _ in done] == [7]
    assert host.exchange("me", [], 0.2).finished == []
    assert time.monotonic() - began < 5


def test_the_engine_has_the_window_at_once_and_gets_the_next_request_when_one_ends(hosts: Hosts, tmp_path) -> None:
    host = hosts(max_num_seqs=4)
    assert len(answers(host, requests(*(f"text {n}" for n in range(30)), tokens=2))) == 30
    asked = [len(line.split()) for line in (tmp_path / "asked").read_text().splitlines()]
    assert (asked[0], sum(asked)) == (7, 30)  # 1.75 times 4
    assert len(asked) > 4  # not in batches of the window
    stats = host.stats()
    assert (stats.answers, stats.prompt_tokens, stats.completion_tokens, stats.starts) == (30, 60, 60, 1)
    assert stats.busy_s > 0
    assert 0 < stats.full_s <= stats.busy_s


def test_a_request_that_is_here_already_is_not_taken_again(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts()
    twice = requests("once", tokens=20)
    host.exchange("me", twice, 0.0)
    assert answers(host, twice) == {0: "ONCE"}
    assert host.exchange("me", [], 0.1).finished == []
    assert (tmp_path / "asked").read_text().split() == ["0"]


def test_each_client_gets_its_own_answers(hosts: Hosts) -> None:
    host = hosts()
    host.exchange("one", requests("of one"), 0.0)
    assert answers(host, requests("of another"), "another") == {0: "OF ANOTHER"}
    assert answers(host, requests("of one"), "one") == {0: "OF ONE"}


def test_what_the_engine_does_not_take_is_refused_and_the_others_are_answered(hosts: Hosts) -> None:
    asked = [*requests("too long", "half a pair: \ud800", "text"), (3, Request("picture", 1, image_png=b"png"))]
    asked.append((4, Request("text", 1, seed=2**64)))
    assert answers(hosts(), asked) == {0: "refused", 1: "refused", 2: "TEXT", 3: "refused", 4: "refused"}


def test_room_is_shared_among_clients_and_never_zero(hosts: Hosts) -> None:
    host = hosts(max_num_seqs=4)
    assert host.exchange("0", [], 0.0).room == 14  # twice the window
    rooms = [host.exchange(str(n), requests("endless"), 0.0).room for n in range(30)]
    assert rooms[1] == 7
    assert rooms[29] == 1


def test_requests_that_take_long_are_not_hoarded(hosts: Hosts, monkeypatch) -> None:
    monkeypatch.setattr(host_module, "LEASE_S", 0.01)  # as if each took hours
    host = hosts(max_num_seqs=4)
    host.exchange("me", [(99, Request("endless", 1))], 0.0)
    answers(host, requests(*(str(n) for n in range(8)), tokens=3))
    assert host.exchange("me", [], 0.0).room == 5  # enough to keep the engine full


# -- clients that go


@pytest.mark.parametrize("goes", ["silently", "with a word"])
def test_requests_of_a_client_that_goes_are_aborted(hosts: Hosts, tmp_path: Path, goes: str) -> None:
    host = hosts(max_num_seqs=1, lease_s=0.3 if goes == "silently" else 600)
    host.exchange("gone", requests("endless", "endless", "waits"), 0.0)
    await_that((tmp_path / "asked").exists)
    if goes == "with a word":
        host.leave("gone")
    assert answers(host, requests("text")) == {0: "TEXT"}
    assert sorted((tmp_path / "aborted").read_text().split()) == ["0", "1"]


def test_a_client_that_waits_in_a_call_is_not_silent(hosts: Hosts) -> None:
    host = hosts(lease_s=0.1)
    assert [number for number, _ in host.exchange("me", requests("slow", tokens=60), 30.0).finished] == [0]


# -- engines that die


def test_what_was_under_way_at_a_death_runs_again(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts()
    host.exchange("me", requests(*(f"text {n}" for n in range(20)), tokens=20), 0.0)
    await_that((tmp_path / "asked").exists)
    assert host.pid
    os.killpg(host.pid, signal.SIGKILL)
    assert answers(host, requests(*(f"text {n}" for n in range(20)))) == {n: f"TEXT {n}" for n in range(20)}
    assert starts(tmp_path) == 2


def test_the_request_that_kills_the_engine_is_found_and_all_others_are_answered(hosts: Hosts, tmp_path: Path) -> None:
    prompts = [f"text {n}" for n in range(40)]
    prompts[5] = "poison"
    found = answers(hosts(max_num_seqs=8), requests(*prompts))
    assert found == {n: "deadly" if n == 5 else f"TEXT {n}" for n in range(40)}
    assert starts(tmp_path) <= 2 + 4 + 1 + 1  # two make suspects of 14, four halve them, one is the proof


def test_suspects_that_get_their_answers_alone_are_not_deadly(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts()
    asked = tmp_path / "asked"
    host.exchange("me", requests("text", "words", tokens=50), 0.0)
    for times in (1, 2):
        await_that(lambda: asked.exists() and len(asked.read_text().splitlines()) == times)  # noqa: B023 (called here)
        assert host.pid
        os.killpg(host.pid, signal.SIGKILL)
    assert answers(host, requests("text", "words")) == {0: "TEXT", 1: "WORDS"}
    assert asked.read_text().splitlines() == ["0 1", "0 1", "0", "1"]


def test_an_engine_that_makes_no_token_is_replaced_and_the_request_that_stops_it_is_found(hosts: Hosts) -> None:
    found = answers(hosts(max_num_seqs=2, stall_s=0.4), requests("text", "freeze", "words", "more"))
    assert found == {0: "TEXT", 1: "deadly", 2: "WORDS", 3: "MORE"}


def test_an_idle_engine_is_not_taken_for_one_that_hangs(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts(stall_s=0.2)
    answers(host, requests("text"))
    time.sleep(0.6)
    answers(host, requests("words"))
    assert starts(tmp_path) == 1


def test_an_engine_that_dies_whatever_it_is_asked_is_given_up(hosts: Hosts, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(host_module, "MAX_DEATHS_IN_VAIN", 5)
    (tmp_path / "breaks").touch()
    host = hosts()
    with pytest.raises(MachineError, match=r"died, for the 5th time without an answer(.|\n)*the last words"):
        answers(host, requests(*"abcdefgh"))
    with pytest.raises(MachineError):
        host.exchange("another", [], 0.0)


def test_an_engine_that_never_starts_is_told_with_its_last_words(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(MachineError, match=r"ended before it was ready.*\na message of the worker\n.*status 3"):
        hosts().exchange("me", requests("text"), 30.0)
    assert starts(tmp_path) == 1


def test_vllm_that_is_not_installed_is_told_with_its_remedy() -> None:
    if find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(MachineError, match=r"pip install 'sluice\[vllm\]'"):
        VllmHost(VllmOptions("a-model")).exchange("me", requests("text"), 30.0)


def test_an_engine_that_never_gets_ready_is_ended(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "silent").touch()
    host = hosts(start_deadline_s=1.0)
    with pytest.raises(MachineError, match=r"not ready after 1 s"):
        host.exchange("me", requests("text"), 30.0)
    assert host.pid is None


def test_a_start_that_fails_between_others_is_made_again(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts()
    answers(host, requests("text"))
    (tmp_path / "fails").touch()
    assert host.pid
    os.killpg(host.pid, signal.SIGKILL)
    host.exchange("me", requests("words"), 0.0)
    await_that(lambda: starts(tmp_path) >= 2)
    (tmp_path / "fails").unlink()
    assert answers(host, requests("words")) == {0: "WORDS"}


# -- nothing is left behind


def test_closing_ends_all_that_the_engine_has_started(hosts: Hosts) -> None:
    host = hosts()
    child = int(answers(host, requests("child"))[0])
    guard = host.pid
    assert guard
    assert is_alive(child)
    host.close()
    await_that(lambda: not is_alive(child) and not is_alive(guard))
    with pytest.raises(MachineError, match="closed"):
        host.exchange("me", [], 0.0)


def test_the_engine_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    program = (
        "import time; from stages.models.engine import Request; from stages.models.vllm.host import VllmHost\n"
        "from stages.models.vllm.options import VllmOptions\n"
        f"host = VllmHost(VllmOptions('m'), program=({STAND_IN!r}) + ({str(tmp_path)!r},))\n"
        "found = host.exchange('me', [(0, Request('child', 1))], 60.0).finished\n"
        "print(found[0][1].text, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout
    child = int(process.stdout.readline())
    assert is_alive(child)
    process.kill()
    process.wait()
    process.stdout.close()
    await_that(lambda: not is_alive(child))


# -- all at once


@pytest.mark.parametrize("seed", range(2))
def test_every_request_is_answered_exactly_once_whatever_dies(hosts: Hosts, seed: int) -> None:
    """Engines killed at random moments, deadly requests, three clients."""
    chance = random.Random(seed)
    host = hosts(max_num_seqs=4)
    kinds = ["text"] * 57 + ["poison", "poison", "long"]
    chance.shuffle(kinds)
    found: dict[tuple[str, int], str] = {}
    left = {
        client: [(n, Request(f"{kinds[20 * c + n]} {n}", chance.randrange(1, 12))) for n in range(20)]
        for c, client in enumerate("abc")
    }
    prompts = {(client, n): request.prompt for client, asked in left.items() for n, request in asked}
    kills = 2
    ends = time.monotonic() + 60
    while len(found) < 60:
        assert time.monotonic() < ends
        client = chance.choice("abc")
        some = [left[client].pop() for _ in range(min(len(left[client]), chance.randrange(8)))]
        for number, answer in host.exchange(client, some, 0.05).finished:
            assert (client, number) not in found
            found[client, number] = answer.text if isinstance(answer, Answer) else answer.reason
        if kills and found and (pid := host.pid) and chance.random() < 0.05:
            kills -= 1
            os.killpg(pid, signal.SIGKILL)
    for key, text in found.items():
        kind = prompts[key].split()[0]
        expected = {"poison": "deadly", "long": "refused"}.get(kind, prompts[key].upper())
        assert text == expected
