"""The line of short reads: tenants by turns."""

from __future__ import annotations

import time

import anyio

from app.http.reading import PARSE_PAUSE, run_look_up, run_parse, run_read, start_in_turn
from app.models.tenancy import acting_for


def test_a_crowd_of_one_tenant_holds_up_another_for_one_read() -> None:
    done: list[str] = []

    def read(tenant_id: str) -> None:
        time.sleep(0.01)
        done.append(tenant_id)

    async def ask(tenant_id: str) -> None:
        with acting_for(tenant_id):
            await run_read(read, tenant_id)

    async def crowd() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask, "many")
            await anyio.sleep(0.05)
            tasks.start_soon(ask, "few")
            tasks.start_soon(ask, "few")

    anyio.run(crowd)
    assert len(done) == 52
    first, second = (number for number, tenant_id in enumerate(done) if tenant_id == "few")
    assert second - first == 2
    assert second < 25


def test_who_gives_up_is_passed_over() -> None:
    done: list[int] = []

    async def give_up() -> None:
        with anyio.move_on_after(0.02):
            await run_read(done.append, 1)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_read, time.sleep, 0.2)
            await anyio.sleep(0.05)
            tasks.start_soon(give_up)
            tasks.start_soon(run_read, done.append, 2)
        await run_read(done.append, 3)

    anyio.run(all_of_them)
    assert done == [2, 3]


def test_after_a_body_there_is_a_pause_and_its_request_does_not_wait_for_it() -> None:
    """Guard tried: without the pause the second begins 0.05 s after the first."""
    seconds = 0.05
    begun: list[float] = []

    def parse() -> None:
        begun.append(time.monotonic())
        time.sleep(seconds)

    async def two() -> float:
        with acting_for("one"):
            await run_parse(parse)
            answered = time.monotonic()
            await run_parse(parse)
        return answered

    answered = anyio.run(two)
    assert begun[1] - answered >= 0.9 * PARSE_PAUSE * seconds


def test_a_crowd_that_arrives_at_once_is_begun_one_by_one() -> None:
    begun: list[str] = []

    async def request(tenant_id: str) -> None:
        await start_in_turn(tenant_id)
        begun.append(tenant_id)

    async def crowd() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(request, "many")
            tasks.start_soon(request, "few")

    anyio.run(crowd)
    assert len(begun) == 501
    assert begun.index("few") < 5


def test_keys_are_looked_up_a_few_at_a_time_and_the_sources_by_turns() -> None:
    done: list[str] = []
    at_once: list[int] = []
    under_way = 0

    def look_up(source: str) -> None:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        time.sleep(0.01)
        under_way -= 1
        done.append(source)

    async def crowd() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(run_look_up, "many", look_up, "many")
            await anyio.sleep(0.05)
            tasks.start_soon(run_look_up, "few", look_up, "few")

    anyio.run(crowd)
    assert 1 < max(at_once) <= 4
    assert done.index("few") < 60
