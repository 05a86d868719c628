"""A real provider of OpenID Connect with people and a client of the tests: glewlwyd, of a Debian package."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from testing.services import free_port

TABLES = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
PAGES = Path("/usr/share/glewlwyd/webapp")
PAGE_CONFIG = Path("/usr/share/glewlwyd/templates/config.json")
AUDIENCE = "https://distillation.example"
CLIENT, SECRET = "distillation", "the-page's-secret"
PASSWORD = "correct horse"
PEOPLE = {
    "ada": ["vision-writers"],
    "grace": ["vision-readers", "audio-admins"],
    "linus": ["platform"],
    "nobody": ["elsewhere"],
}
RULES = [
    {"group": "vision-readers", "tenant": "vision", "role": "reader"},
    {"group": "vision-writers", "tenant": "vision", "role": "writer"},
    {"group": "audio-admins", "tenant": "audio", "role": "admin"},
    {"group": "platform", "role": "operator"},
]
CALLBACK = "/ui/sign-in/callback"
START_SECONDS = 30
CONFIG = """
port = {port}
bind_address = "127.0.0.1"
external_url = "http://localhost:{port}/"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "WARNING"
cookie_secure = 0
session_key = "GLEWLWYD2_SESSION_ID"
admin_session_authentication = "cookie"
profile_session_authentication = "cookie"
login_api_enabled = true
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "/usr/lib/glewlwyd/user"
client_module_path = "/usr/lib/glewlwyd/client"
user_auth_scheme_module_path = "/usr/lib/glewlwyd/scheme"
plugin_module_path = "/usr/lib/glewlwyd/plugin"
hash_algorithm = "SHA512"
static_files_path = "{pages}/"
static_files_mime_types = (
  {{ extension = ".html"; mime_type = "text/html" }}, {{ extension = ".css"; mime_type = "text/css" }},
  {{ extension = ".js"; mime_type = "application/javascript" }},
  {{ extension = ".json"; mime_type = "application/json" }}
)
database = {{ type = "sqlite3"; path = "{database}" }}
"""


@dataclass
class SignInProvider:
    """Where it is, and what signs in there."""

    url: str

    @property
    def issuer(self) -> str:
        return f"{self.url}/api/oidc"

    def settings(self, **more: str) -> dict[str, str]:
        """Of a service that takes its people."""
        return {
            "DFAD_OIDC_ISSUER": self.issuer,
            "DFAD_OIDC_CLIENT_ID": CLIENT,
            "DFAD_OIDC_CLIENT_SECRET": SECRET,
            "DFAD_OIDC_AUDIENCE": AUDIENCE,
            "DFAD_OIDC_SCOPES": "openid",
            "DFAD_OIDC_ROLES": json.dumps(RULES),
            **more,
        }

    def access_token(self, person: str, service: str) -> str:
        """One for the API, as a program of theirs gets it for the audience of the API."""
        back = f"{service}{CALLBACK}"
        asked = {
            "response_type": "code", "client_id": CLIENT, "redirect_uri": back, "scope": "openid",
            "state": "s", "nonce": "n", "resource": AUDIENCE, "g_continue": "",
        }  # fmt: skip
        with self.browser(person) as browser:
            sent = browser.get(f"{self.issuer}/auth", params=asked).headers["location"]
        code = parse_qs(urlsplit(sent).query)["code"][0]
        exchange = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": back, "resource": AUDIENCE,
        }  # fmt: skip
        answer = httpx.post(f"{self.issuer}/token", data=exchange, auth=(CLIENT, SECRET), timeout=30)
        return str(answer.raise_for_status().json()["access_token"])

    def register(self, service: str) -> None:
        """The client that the page of `service` is."""
        with self._admin() as admin:
            _made(
                admin.post(
                    "/client/",
                    json={
                        "client_id": CLIENT,
                        "name": "Distillation",
                        "confidential": True,
                        "enabled": True,
                        "client_secret": SECRET,
                        "redirect_uri": [f"{service}{CALLBACK}"],
                        "post_logout_redirect_uri": f"{service}/ui/sign-in",
                        "authorization_type": ["code"],
                        "token_endpoint_auth_method": ["client_secret_basic"],
                        "resource": [AUDIENCE],
                        "scope": [],
                    },
                )
            )
        for person in PEOPLE:  # who have agreed to it, as an administrator often does for all
            with self.browser(person) as browser:
                _made(browser.put(f"{self.url}/api/auth/grant/{CLIENT}", json={"scope": "openid"}))

    @contextmanager
    def browser(self, person: str, password: str = PASSWORD) -> Iterator[httpx.Client]:
        """A browser in which somebody has signed in there."""
        with httpx.Client(timeout=30) as client:
            _made(client.post(f"{self.url}/api/auth/", json={"username": person, "password": password}))
            yield client

    @contextmanager
    def _admin(self) -> Iterator[httpx.Client]:
        with self.browser("admin", "password") as client:
            client.base_url = f"{self.url}/api"
            yield client

    def configure(self) -> None:
        """Its keys, its claims and its people."""
        from joserfc.jwk import RSAKey

        key = RSAKey.generate_key(2048, {"kid": "provider-1", "alg": "RS256"})
        plugin = {
            "iss": self.issuer,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "jwks-private": json.dumps({"keys": [key.as_dict(private=True)]}),
            "jwks-show": True,
            "access-token-duration": 600,
            "refresh-token-duration": 600,
            "code-duration": 60,
            "auth-type-code-enabled": True,
            "auth-type-password-enabled": False,
            "auth-type-token-enabled": False,
            "auth-type-client-enabled": False,
            "auth-type-refresh-enabled": False,
            "subject-type": "public",
            "name-claim": "mandatory",
            "pkce-allowed": True,
            "pkce-required": False,
            "resource-allowed": True,
            "resource-client-property": "resource",
            "oauth-as-iss-id": True,
            "session-management-allowed": True,
            "front-channel-logout-allowed": True,
            "session-cookie-name": "OIDC_SID",
            "session-cookie-expiration": 3600,
            "claims": [{"name": "groups", "user-property": "groups", "type": "string", "mandatory": True}],
            "additional-parameters": [{"user-parameter": "groups", "token-parameter": "groups"}],
        }
        with self._admin() as admin:
            module = admin.get("/mod/user/database").json()
            module["parameters"]["data-format"]["groups"] = {
                "multiple": True, "read": True, "write": True, "profile-read": True, "profile-write": False,
            }  # fmt: skip
            _made(admin.put("/mod/user/database", json=module))
            _made(admin.put("/mod/user/database/reset/", json={}))
            about = {"module": "oidc", "name": "oidc", "display_name": "OIDC", "parameters": plugin}
            _made(admin.post("/mod/plugin/", json=about))
            for person, groups in PEOPLE.items():
                user = {
                    "username": person, "name": person.title(), "password": PASSWORD, "enabled": True,
                    "scope": ["openid"], "groups": groups,
                }  # fmt: skip
                _made(admin.post("/user/", json=user))


def _made(answer: httpx.Response) -> None:
    assert answer.status_code == 200, (answer.request.url, answer.status_code, answer.text)


@contextmanager
def running_provider(folder: Path, missing: Callable[[str], None]) -> Iterator[SignInProvider]:
    """A provider of the tests' own; they are skipped, or fail, where it is not installed."""
    program = shutil.which("glewlwyd")
    if program is None or not TABLES.exists():
        missing("glewlwyd")
    port, database, log = free_port(), folder / "glewlwyd.sqlite3", folder / "glewlwyd.log"
    with sqlite3.connect(database) as connection:
        connection.executescript(TABLES.read_text())
    config = folder / "glewlwyd.conf"
    # It serves no link that leads out of its folder, as those of the package to other packages do.
    pages = shutil.copytree(PAGES, folder / "pages", ignore=shutil.ignore_patterns("config.json"))
    about_pages = json.loads(PAGE_CONFIG.read_text())
    about_pages |= {"GlewlwydUrl": f"http://localhost:{port}/", "sessionSchemes": []}
    (pages / "config.json").write_text(json.dumps(about_pages))
    config.write_text(CONFIG.format(port=port, database=database, pages=pages))
    with log.open("wb") as out:
        process = subprocess.Popen([str(program), f"--config-file={config}"], stdout=out, stderr=out)
    try:
        found = SignInProvider(f"http://localhost:{port}")
        _wait(found.url, process, log)
        found.configure()
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/api/auth/", timeout=5)
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.05)
        else:
            return
