"""Which requests the engine is given, and how the one that kills it is found."""

import math

from hypothesis import given
from hypothesis import strategies as st

from stages.models.engine import Request
from stages.models.vllm.schedule import Client, Held, Schedule


def held(*keys: int, client: Client | None = None) -> list[Held]:
    return [Held(key, client or Client(0.0), key, Request(str(key), 1)) for key in keys]


def keys(requests: list[Held]) -> list[int]:
    return [request.key for request in requests]


def test_requests_flow_through_the_window_in_order() -> None:
    schedule = Schedule(window=2)
    schedule.add(held(0, 1, 2, 3))
    assert keys(schedule.admitted()) == [0, 1]
    assert keys(schedule.admitted()) == []
    schedule.ended(1)
    assert keys(schedule.admitted()) == [2]
    assert (len(schedule), schedule.under_way) == (3, 2)


def test_after_one_death_all_run_again_in_order_and_together() -> None:
    schedule = Schedule(window=3)
    schedule.add(held(0, 1, 2, 3))
    schedule.admitted()
    assert schedule.died() is None
    assert keys(schedule.admitted()) == [0, 1, 2]


def test_suspects_of_two_deaths_run_by_halves_while_others_wait() -> None:
    schedule = Schedule(window=4)
    schedule.add(held(0, 1, 2, 3, 4, 5))
    schedule.admitted()
    schedule.died()
    schedule.admitted()
    schedule.ended(0)
    assert keys(schedule.admitted()) == [4]
    schedule.died()  # 1, 2 and 3 were there both times
    assert keys(schedule.admitted()) == [1, 2]
    assert keys(schedule.admitted()) == []
    schedule.ended(1)
    assert keys(schedule.admitted()) == []
    schedule.ended(2)
    assert keys(schedule.admitted()) == [3]
    schedule.ended(3)
    assert keys(schedule.admitted()) == [4, 5]


def test_only_a_request_that_ran_alone_from_the_start_is_deadly() -> None:
    schedule = Schedule(window=4)
    schedule.add(held(0, 1, 2, 3))
    for _ in range(2):
        schedule.admitted()
        schedule.died()
    assert keys(schedule.admitted()) == [0, 1]
    schedule.ended(0)
    assert schedule.died() is None  # 0 may have had to do with it
    assert keys(schedule.admitted()) == [1]
    deadly = schedule.died()
    assert deadly is not None
    assert (deadly.key, deadly.deaths) == (1, 4)
    assert keys(schedule.admitted()) == [2, 3]


def test_what_a_client_that_is_gone_had_is_forgotten_everywhere() -> None:
    gone, here = Client(0.0), Client(0.0)
    schedule = Schedule(window=4)
    schedule.add([*held(0, 2, client=gone), *held(1, 3, client=here), *held(4, client=gone)])
    schedule.admitted()
    schedule.died()
    schedule.admitted()
    schedule.died()
    assert keys(schedule.admitted()) == [0, 2]  # on trial; 1 and 3 are next, 4 waits
    gone.is_gone = True
    assert schedule.forgotten() == [0, 2]
    assert schedule.ended(0) is None
    assert keys(schedule.admitted()) == [1, 3]
    schedule.ended(1)
    schedule.ended(3)
    assert (schedule.admitted(), len(schedule)) == ([], 0)


@given(st.integers(1, 40), st.integers(1, 12), st.sets(st.integers(0, 39), max_size=3), st.randoms())
def test_exactly_the_deadly_requests_are_found_in_few_deaths(count: int, window: int, deadly: set[int], chance) -> None:
    """Requests end in any order, and deadly ones kill the engine at any time that they are under way."""
    deadly = {key for key in deadly if key < count}
    schedule = Schedule(window)
    schedule.add(held(*range(count)))
    running: list[int] = []
    answered: list[int] = []
    found: list[int] = []
    deaths = 0
    while len(schedule):
        running += keys(schedule.admitted())
        assert 0 < len(running) <= window
        key = chance.choice(running)
        if key in deadly:
            deaths += 1
            running = []
            if request := schedule.died():
                found.append(request.key)
        else:
            running.remove(key)
            schedule.ended(key)
            answered.append(key)
    assert sorted(answered) == sorted(set(range(count)) - deadly)
    assert sorted(found) == sorted(deadly)
    assert deaths <= len(deadly) * (3 + 2 * math.ceil(math.log2(window)) + 1)
