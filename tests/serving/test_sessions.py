"""A study is its session's alone and goes with it; the audit log shows whoever edits it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from medvlp.answers.asking.model import Prepared
from medvlp.core.errors import DataError, UserError
from medvlp.core.sample import Sample
from medvlp.serving.audit import AuditLog, verify
from medvlp.serving.sessions import Limits, Sessions


@dataclass
class Sized:
    memory: int


def test_another_session_has_no_such_study():
    sessions = Sessions()
    one, two = sessions.start(), sessions.start()
    key = sessions.add(one, Sized(1))
    assert sessions.study(one, key).memory == 1
    for token in (two, "", None, "x"):
        with pytest.raises(KeyError):
            sessions.study(token, key)
    sessions.leave(one)
    with pytest.raises(UserError, match="ended while the study was read: open the page again"):
        sessions.add(one, Sized(1))


def test_silence_ends_a_session_and_a_heartbeat_does_not():
    now = [0.0]
    sessions = Sessions(Limits(silence=45), clock=lambda: now[0])
    silent, alive = sessions.start(), sessions.start()
    now[0] = 40
    assert sessions.knows(alive)
    now[0] = 50
    assert sessions.sweep() == 1
    assert (sessions.knows(silent), sessions.knows(alive)) == (False, True)


def test_a_page_that_browsers_let_speak_once_a_minute_keeps_its_session():
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    hidden = sessions.start()
    for minute in range(1, 10):
        now[0] = 60 * minute - 1
        assert sessions.sweep() == 1
        now[0] = 60 * minute
        assert sessions.knows(hidden)
    now[0] += 151
    assert sessions.sweep() == 0


def test_pages_are_counted_and_a_page_that_never_left_is_swept():
    now = [0.0]
    sessions = Sessions(Limits(silence=45), clock=lambda: now[0])
    token = sessions.start()
    assert [sessions.enter(each) for each in (token, "x", None)] == [True, False, False]
    sessions.leave(token)
    assert sessions.knows(token)
    sessions.leave(token)
    sessions.leave(token)  # there is none, which is no error
    assert not sessions.knows(token)
    lost = sessions.start()
    sessions.enter(lost)
    sessions.leave(lost)
    now[0] = 46
    assert sessions.sweep() == 0


def test_the_oldest_study_gives_way_and_what_was_made_of_it_with_it():
    sessions = Sessions(Limits(session=10, sessions=1))
    token = sessions.start()
    first = sessions.add(token, Sized(6))
    assert sessions.cached(token, (first, "a"), lambda: 1) == sessions.cached(token, (first, "a"), lambda: 2) == 1
    second = sessions.add(token, Sized(6))
    with pytest.raises(KeyError):
        sessions.study(token, first)
    assert sessions.cached(token, (first, "a"), lambda: 3) == 3
    assert sessions.study(token, second).memory == 6
    with pytest.raises(UserError, match="a session may hold 0 MB"):
        sessions.add(token, Sized(11))


def test_visits_that_ask_for_nothing_fill_no_room_and_32_readers_do():
    sessions = Sessions()
    readers = [sessions.start() for _ in range(31)]
    assert all(sessions.knows(reader) for reader in readers)
    visits = [sessions.start() for _ in range(40)]  # a health check: GET / without a cookie, again and again
    assert sessions.sweep() == 32
    late = sessions.start()
    assert [sessions.knows(each) for each in (*readers, *visits, late)] == [True] * 31 + [False] * 40 + [True]
    with pytest.raises(UserError, match="close a tab, or try again in 150 seconds"):
        sessions.start()


def test_what_is_prepared_for_a_model_counts_and_is_prepared_again_where_there_is_no_room():
    sessions = Sessions(Limits(session=1000))
    token = sessions.start()
    first = sessions.add(token, Sized(600))

    def of(key: str, many: int) -> Prepared:
        made = Prepared(Sample("a", {}), torch.zeros(many), None, (), "image")
        return sessions.cached(token, (first, key), lambda: made)

    picture = of("a", 75)
    assert picture.pixels.nbytes == 300
    assert of("a", 75) is picture
    assert of("b", 75) is not of("b", 75)
    assert sessions.cached(token, (first, "answer"), lambda: 1) == sessions.cached(token, (first, "answer"), dict) == 1
    second = sessions.add(token, Sized(200))
    with pytest.raises(KeyError):
        sessions.study(token, first)
    assert sessions.study(token, second).memory == 200


def test_a_session_keeps_its_newest_notes_and_no_more_than_twenty():
    sessions = Sessions()
    token = sessions.start()
    for number in range(30):
        sessions.remember(token, f"archive {number}", number)
    kept = [number for number in range(30) if sessions.remembered(token, f"archive {number}") is not None]
    assert kept == list(range(10, 30))


def test_an_edited_line_a_removed_one_and_a_swapped_pair_are_found(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for event in ("opened", "findings", "where"):
        log.add(event, model="abc")
    with pytest.raises(UserError, match=r"^Another room writes .*audit.jsonl: give this one a log of its own\.$"):
        AuditLog(path)  # its lines would not follow those of the first
    log.close()
    AuditLog(path).add("later")
    assert verify(path) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines()
    edited = json.dumps(json.loads(lines[1]) | {"model": "xyz"})
    for wrong in ([lines[0], edited, *lines[2:]], [lines[0], *lines[2:]], [lines[1], lines[0], *lines[2:]]):
        path.write_text("\n".join(wrong) + "\n")
        with pytest.raises(DataError, match="the log was edited"):
            verify(path)


def test_a_log_that_cannot_be_written_is_refused_before_anybody_opens_a_study(tmp_path):
    (tmp_path / "file").touch()
    for wrong in (tmp_path, tmp_path / "file" / "log"):  # a folder, and what cannot lie in a file
        with pytest.raises(UserError, match=r"cannot be written \(.*\): choose a folder you may write to\.$"):
            AuditLog(wrong)


def test_a_full_disk_leaves_no_part_of_a_line_and_the_log_goes_on(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.add("opened")
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))  # room for a part of the next line
    try:
        with pytest.raises(OSError, match="File too large"):
            log.add("findings")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    log.add("where")
    assert verify(path) == 2
