"""Whose turn it is, on SQLite and on PostgreSQL."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from app.jobs import lifecycle
from app.jobs.queue import claim_next, next_waiting
from app.platform.db import session_scope
from app.platform.settings import get_settings
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json

EVERY = ("auto", "cpu", "cuda")


def submit(jobs, tenant, **values):
    jobs.tenant = tenant
    return jobs.submit(**values)


def take(devices=EVERY, owner="w"):
    with session_scope() as session:
        return claim_next(session, owner, devices)


def test_a_thousand_of_one_do_not_hold_up_anothers_one(jobs):
    for _ in range(30):
        submit(jobs, "many")
    alone = submit(jobs, "few")
    taken = [take() for _ in range(2)]
    assert alone in [claim.job_id for claim in taken]


def test_tenants_take_turns_on_one_device(jobs):
    for tenant in ("a", "a", "a", "b", "b", "c"):
        submit(jobs, tenant)
    served = []
    while (claim := take()) is not None:
        served.append(claim.tenant_id)
        jobs.do(lifecycle.succeed, claim, from_json(JobResult, {}))
    assert sorted(served[:3]) == ["a", "b", "c"]
    assert sorted(served[3:5]) == ["a", "b"]
    assert served[5] == "a"


def test_priority_counts_among_ones_own(jobs):
    low, high = submit(jobs, "a", priority=-1), submit(jobs, "a", priority=5)
    middle = submit(jobs, "a")
    assert [take().job_id for _ in range(3)] == [high, middle, low]
    assert take() is None


def test_workers_take_what_they_can_run(jobs):
    on_gpu, anywhere = submit(jobs, "a", device="cuda"), submit(jobs, "a")
    with session_scope() as session:
        assert next_waiting(session, ("cuda",)) == (on_gpu, "cuda")
    assert take(("auto", "cpu")).job_id == anywhere
    assert take(("auto", "cpu")) is None
    assert take(("auto", "cuda")).job_id == on_gpu


def test_no_more_at_once_than_the_quota_says(jobs, monkeypatch):
    quotas = {"*": {"running_jobs": 1}, "big": {"running_jobs": 2}, "free": {"running_jobs": None}}
    monkeypatch.setenv("DFAD_QUOTAS", json.dumps(quotas))
    get_settings.cache_clear()
    for tenant in ("small", "big", "free"):
        for _ in range(3):
            submit(jobs, tenant)
    running = []
    while (claim := take()) is not None:
        running.append(claim.tenant_id)
    assert sorted(running) == ["big", "big", "free", "free", "free", "small"]


def test_many_workers_at_once_take_different_jobs(jobs):
    wanted = {submit(jobs, "a") for _ in range(12)}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda n: take(owner=f"w{n}"), range(12)))
    found = [claim.job_id for claim in taken if claim is not None]
    assert len(found) == len(set(found))
    while (claim := take()) is not None:  # one that looked at a row in the moment it was taken
        found.append(claim.job_id)
    assert set(found) == wanted


def test_workers_that_claim_at_the_same_moment_keep_to_the_quota(jobs, monkeypatch):
    monkeypatch.setenv("DFAD_QUOTAS", json.dumps({"*": {"running_jobs": 1}, "pair": {"running_jobs": 2}}))
    get_settings.cache_clear()
    for _ in range(8):
        for tenant in ("one", "pair"):
            submit(jobs, tenant)
    for _ in range(5):
        begin = Barrier(8)

        def claim_together(number, begin=begin):
            begin.wait()
            return take(owner=f"w{number}")

        with ThreadPoolExecutor(8) as pool:
            taken = [claim for claim in pool.map(claim_together, range(8)) if claim is not None]
        assert sorted(claim.tenant_id for claim in taken) == ["one", "pair", "pair"]
        for claim in taken:
            jobs.do(lifecycle.requeue, claim, "test", delay=0.0)
