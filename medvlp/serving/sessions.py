"""Studies in memory, by session: nobody else's, never on disk, gone when the last tab is closed or falls silent."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from medvlp.answers.asking.model import Prepared
from medvlp.core.errors import UserError
from medvlp.serving.studies import Study

_MOST_NOTES = 20  # of one session


@dataclass(frozen=True)
class Limits:
    """What one server holds.

    Attributes:
        upload: bytes of one upload.
        session: bytes of values that one session holds, prepared for a model too; its oldest studies give way.
        sessions: how many at a time.
        silence: seconds without a heartbeat after which a session is swept.
    """

    upload: int = 2 << 30
    session: int = 3 << 30
    sessions: int = 32
    silence: float = 150.0  # browsers let a hidden page speak once a minute


@dataclass
class _Session:
    seen: float
    pages: int = 0  # until one asks for more than itself
    studies: dict[str, Study] = field(default_factory=dict)
    cached: dict[tuple[object, ...], object] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)


class Sessions:
    """Sessions by a token that only their browser knows.

    Args:
        limits: see `Limits`.
        clock: seconds that only grow.

    Example:
        >>> sessions = Sessions()
        >>> token = sessions.start()
        >>> sessions.knows(token), sessions.knows("another")
        (True, False)
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock, self._lock = clock, threading.RLock()
        self._sessions: dict[str, _Session] = {}

    def start(self) -> str:
        """Return the token of a new session, which has one page; the oldest that never asked for more gives way.

        Raises:
            UserError: there are too many.
        """
        with self._lock:
            self.sweep()
            if len(self._sessions) >= self.limits.sessions:
                # Of health checks and crawlers, which bring no cookie back, each visit is a session.
                unused = next((token for token, each in self._sessions.items() if not each.pages), None)
                if unused is None:
                    raise UserError(
                        f"{self.limits.sessions} sessions are open, which is the limit: close a tab, "
                        f"or try again in {self.limits.silence:g} seconds."
                    )
                del self._sessions[unused]
            token = secrets.token_urlsafe(32)
            self._sessions[token] = _Session(self._clock())
            return token

    def knows(self, token: str | None) -> bool:
        """Whether there is such a session; it is alive from now."""
        with self._lock:
            session = self._sessions.get(token or "")
            if session is not None:
                session.seen, session.pages = self._clock(), max(1, session.pages)
            return session is not None

    def enter(self, token: str | None) -> bool:
        """Count one more page of a session that is there (a reload, a second tab); return whether there is one."""
        with self._lock:
            known = self.knows(token)
            if known:
                self._sessions[token or ""].pages += 1
            return known

    def leave(self, token: str) -> None:
        """Count one page less, and drop the session with its last one.

        A reload asks for its new page before the old one leaves. A page that never says so is swept by silence.
        """
        with self._lock:
            session = self._sessions.get(token)
            if session is not None:
                session.pages -= 1
                if session.pages <= 0:
                    del self._sessions[token]

    def add(self, token: str, study: Study) -> str:
        """Keep a study and return its key; the oldest give way where there is no room.

        Raises:
            UserError: it is larger than a session may hold, or the session ended while it was read.
        """
        if study.memory > self.limits.session:
            raise UserError(
                f"The study needs {study.memory >> 20} MB, a session may hold {self.limits.session >> 20} MB."
            )
        with self._lock:
            session = self._sessions.get(token)
            if session is None:
                raise UserError("The session ended while the study was read: open the page again.")
            while session.studies and self._held(session) + study.memory > self.limits.session:
                self._drop(session, next(iter(session.studies)))
            key = secrets.token_urlsafe(16)
            session.studies[key] = study
            return key

    def study(self, token: str | None, key: str) -> Study:
        """Return a study of this session.

        Raises:
            KeyError: it is not this session's, or gone.
        """
        with self._lock:
            return self._sessions[token or ""].studies[key]

    def cached(self, token: str, key: tuple[object, ...], make: Callable[[], object]) -> object:
        """Return what was made of a study before, or make it and keep it if there is room; ``key[0]`` is its study."""
        with self._lock:
            cached = self._sessions[token].cached
            if key in cached:
                return cached[key]
        made = make()  # without the lock: a model may take seconds
        with self._lock:
            session = self._sessions.get(token)
            if session is not None and key[0] in session.studies:
                session.cached[key] = made
                if self._held(session) > self.limits.session:
                    del session.cached[key]
        return made

    def remember(self, token: str, name: str, note: object) -> None:
        """Keep a note of the session that belongs to no study; of more than twenty the oldest give way."""
        with self._lock:
            notes = self._sessions[token].notes
            notes[name] = note
            while len(notes) > _MOST_NOTES:
                del notes[next(iter(notes))]

    def remembered(self, token: str, name: str) -> object:
        """Return a note, None where there is none."""
        with self._lock:
            return self._sessions[token].notes.get(name)

    def forget(self, token: str, key: str) -> None:
        """Drop a study."""
        with self._lock:
            if token in self._sessions:
                self._drop(self._sessions[token], key)

    def sweep(self) -> int:
        """Drop sessions that fell silent; return how many are left."""
        with self._lock:
            oldest = self._clock() - self.limits.silence
            for token in [token for token, session in self._sessions.items() if session.seen < oldest]:
                del self._sessions[token]
            return len(self._sessions)

    @staticmethod
    def _drop(session: _Session, key: str) -> None:
        session.studies.pop(key, None)
        session.cached = {made: value for made, value in session.cached.items() if made[0] != key}

    @staticmethod
    def _held(session: _Session) -> int:
        prepared = sum(made.pixels.nbytes for made in session.cached.values() if isinstance(made, Prepared))
        return prepared + sum(study.memory for study in session.studies.values())
