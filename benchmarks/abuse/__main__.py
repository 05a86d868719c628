"""Whether one tenant, or somebody without a key, can hurt the others.

    python -m benchmarks.abuse
    python -m benchmarks.abuse --seconds 10 --only "unfinished heads"

Starts the real server (on PostgreSQL where it is installed, else on SQLite) and runs one attack after the
other, each in a process of its own, while another tenant polls `GET /jobs/{id}`. Harmed: the 99th percentile
of that tenant's times is above 500 ms, any of its requests got no answer, a 5xx or another refusal, or the
attack ended with an error, as where a quota was passed or the attacker itself got a 5xx. The last line is
`ABUSE attacks=N harmed=M`; the exit code is 1 where M is not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.abuse import arriving, edge
from benchmarks.abuse.attack import Attack, Context, carry_out
from benchmarks.abuse.poller import Poller
from benchmarks.api_load import fill
from testing.services import Postgres, ServiceMissing
from testing.stack import Stack, wait_until_ready

OPERATOR_KEY = "operator-key-of-the-abuse-benchmark"
HARMED_MS = 500
HOST = "127.0.0.1"
QUOTA = {"queued_jobs": 20, "running_jobs": 2, "stored_bytes": 2_000_000, "requests_per_minute": 6000}
"""Of the tenant that attacks."""
END_SECONDS = 20.0


def attacks() -> list[Attack]:
    """All attacks: of the edge, of what comes in, and of what is kept."""
    found = [*edge.ATTACKS, *arriving.ATTACKS]
    if importlib.util.find_spec("benchmarks.abuse.state") is not None:
        found += importlib.import_module("benchmarks.abuse.state").ATTACKS
    return found


def _make_key(url: str, tenant: str) -> str:
    body = json.dumps({"name": tenant, "tenant_id": tenant, "scopes": ["read", "write"]}).encode()
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Content-Type": "application/json"}
    with urlopen(Request(f"{url}/keys", body, headers), timeout=30) as answer:
        return str(json.load(answer)["key"])


def run_one(attack: Attack, context: Context, poller: Poller, seconds: float) -> bool:
    """Attack for so long while the other tenant polls; prints a line. Whether that tenant was harmed."""
    process = multiprocessing.get_context("spawn").Process(target=carry_out, args=(attack, context))
    process.start()
    poller.start()
    time.sleep(seconds)
    poller.finish()
    context.stop.set()
    process.join(END_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    broken = "" if process.exitcode == 0 else f"  the attack ended with exit code {process.exitcode}"
    harmed = bool(broken or poller.failures or poller.refusals) or poller.p99_ms() > HARMED_MS
    print(
        f"{attack.name:<44} answers {len(poller.latencies):>4}  p99 {poller.p99_ms():>7.0f} ms"
        f"  failed {len(poller.failures):>3}  refused {poller.refusals:>3}"
        f"  {'HARMED' if harmed else 'unharmed'}{broken}",
        flush=True,
    )
    if poller.failures:
        print("    failures: " + ", ".join(sorted(set(poller.failures))), flush=True)
    return harmed


def run(chosen: Sequence[Attack], seconds: float, folder: Path, *, sqlite: bool) -> int:
    """All chosen attacks on one server; how many harmed the other tenant."""
    more = {"DFAD_API_KEY": OPERATOR_KEY, "DFAD_QUOTAS": json.dumps({"attacker": QUOTA})}
    for attack in chosen:
        more |= attack.settings
    with contextlib.ExitStack() as closing:
        if not sqlite:
            with contextlib.suppress(ServiceMissing):
                postgres = Postgres()
                closing.callback(postgres.close)
                more["DFAD_DATABASE_URL"] = postgres.url
        stack = Stack(folder, full=False, more=more)
        closing.callback(stack.close)
        wait_until_ready(stack.url)
        print("database: " + ("PostgreSQL" if "DFAD_DATABASE_URL" in more else "SQLite"), flush=True)
        job_ids = fill(100, tenant_id="victim")
        victim, attacker = (_make_key(stack.url, tenant) for tenant in ("victim", "attacker"))
        harmed = 0
        for attack in [Attack("(nothing)", edge.nothing), *chosen]:
            stop = multiprocessing.get_context("spawn").Event()
            context = Context(HOST, stack.port, attacker, OPERATOR_KEY, stop)
            harmed += run_one(attack, context, Poller(HOST, stack.port, victim, job_ids), seconds)
            stack.keep_alive()  # a server that an attack has ended
            wait_until_ready(stack.url)
    return harmed


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10, help="of each attack")
    parser.add_argument("--only", action="append", help="attacks whose name begins so; may be repeated")
    parser.add_argument("--sqlite", action="store_true", help="even where PostgreSQL is installed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    options = parse(arguments)
    chosen = [a for a in attacks() if not options.only or a.name.startswith(tuple(options.only))]
    with tempfile.TemporaryDirectory(prefix="dfad-abuse-") as folder:
        harmed = run(chosen, options.seconds, Path(folder), sqlite=options.sqlite)
    print(f"ABUSE attacks={len(chosen)} harmed={harmed}")
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
