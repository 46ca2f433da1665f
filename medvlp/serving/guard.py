"""What stands before every request: known hosts, listed routes, one's own session, no other site, strict headers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.serving.sessions import Sessions

__all__ = ["COOKIE", "Guard", "Passwords", "password_line"]

COOKIE = "reading_room"
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
_OPEN = re.compile(r"/|/rr/web/[a-z_]+\.(js|css|svg)|/gradio_api/startup-events")
_OWN = re.compile(r"/rr/[A-Za-z0-9_\-/.]+|/gradio_api/call/[a-z_]+(/[0-9a-f]+)?")
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        sessions: who is who.
        hosts: names under which the server may be called; another Host is a page that rebinds its name.
        passwords: who may enter; None lets everybody in who reaches the host.
        schema: whether ``/openapi.json`` is told.
    """

    def __init__(
        self, app: App, *, sessions: Sessions, hosts: frozenset[str], passwords: Passwords | None = None,
        schema: bool = False,
    ) -> None:  # fmt: skip
        self._app, self._sessions, self._hosts, self._passwords = app, sessions, hosts, passwords
        self._open = _OPEN if not schema else re.compile(_OPEN.pattern + r"|/openapi\.json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with a sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websocket is served
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        token = _cookie(headers.get("cookie", ""))
        refusal = self._refusal(scope, headers, token)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        new = None
        if scope["path"] == "/" and scope["method"] == "GET" and not self._sessions.knows(token):
            try:
                token = new = self._sessions.start()
            except UserError as error:
                await _answer(send, 503, str(error))
                return
        scope["reading_room"] = token
        await self._app(scope, receive, _sealed(send, new, secure=scope.get("scheme") == "https"))

    def _refusal(self, scope: Scope, headers: dict[str, str], token: str | None) -> tuple[int, str] | None:
        host = headers.get("host", "").rsplit(":", 1)[0].lower()
        path, method = scope["path"], scope["method"]
        if host not in self._hosts:
            return 400, "This host name is not one of the server's."
        own = _OWN.fullmatch(path) is not None and ".." not in path
        if not own and not self._open.fullmatch(path):
            return 404, "There is nothing here."
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        reading = method in ("GET", "HEAD")
        # A page may be linked to and typed; what it is made of may be asked for by itself alone.
        allowed = (None, "same-origin", "none") if reading else (None, "same-origin")
        foreign = origin and origin.split("//")[-1] != headers.get("host")
        if (own or not reading) and (site not in allowed or foreign):
            return 403, "Another site may not send requests here."
        if self._passwords and path != "/gradio_api/startup-events":
            given = headers.get("authorization", "")
            if not self._passwords.allow(given):
                return 401, "Give a user name and a password of the --auth file."
        if own and not self._open.fullmatch(path) and not self._sessions.knows(token):
            return 403, "There is no such session: open the page first."
        return None


def _cookie(text: str) -> str | None:
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _sealed(send: Send, token: str | None, *, secure: bool) -> Send:
    """Put the headers on whatever is answered, and the cookie on the first page."""

    async def sealed(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value) for name, value in message.get("headers", ())
                if name.lower().decode() not in (*_HEADERS, "server", "access-control-allow-origin", "set-cookie")
            ]  # fmt: skip
            kept += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            if token:
                end = "; Secure" if secure else ""
                kept.append((b"set-cookie", f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{end}".encode()))
            message = {**message, "headers": kept}
        await send(message)

    return sealed


async def _answer(send: Send, status: int, sentence: str) -> None:
    out = _sealed(send, None, secure=False)
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="reading room", charset="UTF-8"'))
    await out({"type": "http.response.start", "status": status, "headers": headers})
    await out({"type": "http.response.body", "body": sentence.encode()})


class Passwords:
    """Users of an ``--auth`` file: lines ``name:salt:hash`` in hexadecimal, scrypt; `password_line` makes one.

    Args:
        path: the file.

    Raises:
        UserError: it cannot be read, is empty, or has another line.
    """

    def __init__(self, path: Path) -> None:
        self._users: dict[str, tuple[bytes, bytes]] = {}
        self._passed: set[bytes] = set()
        try:
            lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): give the file of user names.") from None
        for number, line in enumerate(lines, 1):
            try:
                name, salt, digest = line.split(":")
                self._users[name] = bytes.fromhex(salt), bytes.fromhex(digest)
            except ValueError:
                raise UserError(
                    f"{path}, line {number} is not name:salt:hash: make it with `medvlp demo --password NAME`."
                ) from None
        if not self._users:
            raise UserError(f"{path} names no user: make a line with `medvlp demo --password NAME`.")

    def allow(self, authorization: str) -> bool:
        """Whether an Authorization header is of a user here."""
        seen = hashlib.sha256(authorization.encode()).digest()
        if seen in self._passed:  # scrypt takes 50 ms, a page makes dozens of requests
            return True
        try:
            kind, _, text = authorization.partition(" ")
            name, _, password = base64.b64decode(text, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        salt, digest = self._users.get(name, (b"nobody's salt", b""))
        good = hmac.compare_digest(hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT), digest)
        if kind.lower() == "basic" and good:
            self._passed.add(seen)
            return True
        return False


def password_line(name: str, password: str, *, salt: bytes) -> str:
    """Return a line of an ``--auth`` file.

    Example:
        >>> password_line("jane", "secret", salt=b"salt").startswith("jane:73616c74:")
        True
    """
    return f"{name}:{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"
