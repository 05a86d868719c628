"""`python -m app.healthy`: exit code 0 if the server of this machine (or container) answers, else 1."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from app.platform.startup import settings_or_exit

SECONDS = 3.0


def main() -> int:
    """Ask `/healthz`, past any proxy that the environment names."""
    settings = settings_or_exit()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  (compared)
    address = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}:{settings.port}/healthz", timeout=SECONDS):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"the server does not answer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
