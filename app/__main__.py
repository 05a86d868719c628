"""`python -m app`: the server."""

from __future__ import annotations

import ipaddress
import sys

import uvicorn

from app.config import Settings, get_settings


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(settings: Settings) -> str | None:
    """Why the server must not start with these settings; None if it may."""
    if settings.api_key is None and not _is_loopback(settings.host):
        return (
            f"DFAD_API_KEY must be set to listen on {settings.host}: "
            "without it everybody could use the server."
        )
    return None


def main() -> int:
    """Serve until told to stop. Exit code 2 for settings that would be unsafe."""
    settings = get_settings()
    problem = refusal(settings)
    if problem is not None:
        print(problem, file=sys.stderr)
        return 2
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        server_header=False,
        timeout_graceful_shutdown=5,
        access_log=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
