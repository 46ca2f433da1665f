"""What stands before every request: known hosts, listed routes, one's own session, no other site, strict headers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.serving.sessions import Sessions

COOKIE = "reading_room"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
_SHUT = "form-action 'none'; frame-ancestors "
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}
_AFTER_WRONG = 1.0  # seconds until the next password of an address is read
_MOST_WAITING = 32  # of an address: a page that is reopened asks for so many things at once

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Surface:
    """The allow-list of a server: routes, hosts, origins and content policy.

    Attributes:
        open: paths for anybody; all but these and `own` are not there.
        own: paths for the page alone, and where the server keeps sessions for who has one.
        policy: content policy, without what may frame the page.
        framed_by: origin whose pages may; empty for none.
    """

    open: re.Pattern[str]
    own: re.Pattern[str]
    policy: str
    framed_by: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers of every answer."""
        if not self.framed_by:
            return {**_HEADERS, "content-security-policy": f"{self.policy}{_SHUT}'none'", "x-frame-options": "DENY"}
        return {**_HEADERS, "content-security-policy": f"{self.policy}{_SHUT}{self.framed_by}"}


ROOM = Surface(
    re.compile(r"/|/rr/web/[a-z_]+\.(js|css|svg)|/gradio_api/startup-events"),
    re.compile(r"/rr/[A-Za-z0-9_\-/.]+|/gradio_api/call/[a-z_]+(/[0-9a-f]+)?"),
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; ",
)
# Pages of gradio's Blocks are made of scripts that are compiled in the browser; they too reach no other host.
EXPLORER = Surface(
    re.compile(r"/"),
    re.compile(
        r"/(config|theme\.css|info|(assets|static)/[\w\-/.]+)"
        r"|/gradio_api/(info|startup-events|upload|upload_progress|heartbeat/\w+|queue/(join|data)|component_server)"
    ),
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; base-uri 'self'; ",
)


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        sessions: who is who; None where nobody has anything of their own.
        hosts: names under which the server may be called; another Host is a page that rebinds its name.
        passwords: who may enter; None lets everybody in who reaches the host.
        schema: whether routes and queued functions are described, at ``/openapi.json`` and ``/gradio_api/info``.
        surface: what is there.
    """

    def __init__(
        self, app: App, *, sessions: Sessions | None, hosts: frozenset[str], passwords: Passwords | None = None,
        schema: bool = False, surface: Surface = ROOM,
    ) -> None:  # fmt: skip
        self._app, self._sessions, self._hosts, self._passwords = app, sessions, hosts, passwords
        described = r"|/openapi\.json|/gradio_api/info" if schema else ""
        self._open = re.compile(surface.open.pattern + described)
        self._own, self._headers, self._framed = surface.own, surface.headers(), bool(surface.framed_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with a sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websocket is served
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        token = _cookie(headers.get("cookie", ""))
        refusal = await self._refusal(scope, headers, token)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        new, sessions = "", self._sessions
        if sessions is not None and scope["path"] == "/" and scope["method"] == "GET" and not sessions.enter(token):
            try:
                token = new = sessions.start()
            except UserError as error:
                await self._answer(send, 503, str(error))
                return
        scope["reading_room"] = token
        if new:
            safe = scope.get("scheme") == "https" or headers.get("x-forwarded-proto") == "https"
            # In another site's frame a browser sends back no strict cookie.
            kind = "; SameSite=None; Secure; Partitioned" if safe and self._framed else "; SameSite=Strict"
            new = f"{COOKIE}={new}; Path=/; HttpOnly{kind}{'; Secure' if safe and not self._framed else ''}"
        await self._app(scope, receive, _sealed(send, self._headers, new))

    async def _refusal(self, scope: Scope, headers: dict[str, str], token: str | None) -> tuple[int, str] | None:
        host = headers.get("host", "").rsplit(":", 1)[0].lower()
        path, method = scope["path"], scope["method"]
        if host not in self._hosts:
            return 400, "This host name is not one of the server's."
        own = self._own.fullmatch(path) is not None and ".." not in path
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
            address = (scope.get("client") or ("",))[0]
            good = await self._passwords.admit(headers.get("authorization", ""), address)
            if good is None:
                return 429, "Too many passwords of this address wait to be read: try again in a minute."
            if not good:
                return 401, "Give a user name and a password of the --auth file."
        if self._sessions is None or not own or self._open.fullmatch(path) or self._sessions.knows(token):
            return None
        return 403, "There is no such session: open the page first."

    async def _answer(self, send: Send, status: int, sentence: str) -> None:
        out = _sealed(send, self._headers, "")
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="medvlp", charset="UTF-8"'))
        await out({"type": "http.response.start", "status": status, "headers": headers})
        await out({"type": "http.response.body", "body": sentence.encode()})


def _cookie(text: str) -> str | None:
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _sealed(send: Send, headers: dict[str, str], cookie: str) -> Send:
    """Put the headers on whatever is answered, and the cookie on the first page."""

    async def sealed(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers_out = [
                (name, value) for name, value in message.get("headers", ())
                if name.lower().decode() not in (*headers, "server", "access-control-allow-origin", "set-cookie")
            ]  # fmt: skip
            headers_out += [(name.encode(), value.encode()) for name, value in headers.items()]
            if cookie:
                headers_out.append((b"set-cookie", cookie.encode()))
            message = {**message, "headers": headers_out}
        await send(message)

    return sealed


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
        self._reader = ThreadPoolExecutor(1)  # scrypt leaves the other threads their time
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
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

    async def admit(self, authorization: str, address: str) -> bool | None:
        """`allow` beside the event loop, one header of an address after another; None where too many of it wait."""
        if not authorization or _digest(authorization) in self._passed:
            return bool(authorization)
        if self._waiting[address] >= _MOST_WAITING:
            return None
        self._waiting[address] += 1
        try:
            async with self._turns.setdefault(address, asyncio.Lock()):
                good = await asyncio.get_running_loop().run_in_executor(self._reader, self.allow, authorization)
                await asyncio.sleep(0 if good else _AFTER_WRONG)
                return good
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._turns[address]

    def allow(self, authorization: str) -> bool:
        """Whether an Authorization header is of a user here."""
        seen = _digest(authorization)
        if seen in self._passed:  # scrypt takes 50 ms, a page makes dozens of requests
            return True
        try:
            kind, _, text = authorization.partition(" ")
            name, _, password = base64.b64decode(text, validate=True).decode("utf-8").partition(":")
        except ValueError:  # no base64, letters beyond ASCII, no UTF-8
            return False
        salt, digest = self._users.get(name, (b"nobody's salt", b""))
        good = hmac.compare_digest(hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT), digest)
        if kind.lower() == "basic" and good:
            self._passed.add(seen)
            return True
        return False


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode()).digest()


def password_line(name: str, password: str, *, salt: bytes) -> str:
    """Return a line of an ``--auth`` file.

    Example:
        >>> password_line("jane", "secret", salt=b"salt").startswith("jane:73616c74:")
        True
    """
    return f"{name}:{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"
