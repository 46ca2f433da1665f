"""What the server refuses and what it puts on every answer, asked of the very application that is served."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import struct
from dataclasses import replace
from urllib.request import urlopen

import pytest

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')

import httpx
from starlette.testclient import TestClient

from medvlp.core.errors import UserError
from medvlp.serving.app import build_server
from medvlp.serving.audit import AuditLog, verify
from medvlp.serving.browse.launch import open_explorer
from medvlp.serving.guard import COOKIE, ROOM, Passwords, password_line
from medvlp.serving.launch import Options, hosts_of, open_room
from medvlp.serving.room import Room
from medvlp.serving.sessions import Limits, Sessions
from medvlp.serving.uploads import FRAMED
from tests.io.deidentify.planted import DATES, PLANTED, planted, report
from tests.serving.room_files import SECRETS, film

HOSTS = frozenset({"127.0.0.1"})
URL = "http://127.0.0.1:7860"


@pytest.fixture
def served(tmp_path):
    """The application, its room, and its private folder."""
    folder = tmp_path / "private"
    folder.mkdir()
    room = Room((), Sessions(Limits(upload=1 << 20)), samples=None, audit=AuditLog(tmp_path / "audit"), folder=folder)
    return build_server(room, hosts=HOSTS), room, folder


def visitor(server, **options):
    client = TestClient(server, base_url=URL, **options)
    client.get("/")
    return client


def test_a_study_is_seen_by_its_session_alone(served, tmp_path):
    one, two = visitor(served[0]), visitor(served[0])
    told = one.post("/rr/studies", content=film(tmp_path / "a").read_bytes()).json()
    path = f"/rr/studies/{told['key']}/series/0/pixels/0/1"
    assert len(one.get(path).content) == 2 * 300 * 200
    assert two.get(path).status_code == 404
    assert one.get(path.replace("series/0", "series/-1")).status_code == 404  # no series has that number
    assert TestClient(served[0], base_url=URL).get(path).status_code == 403  # who never opened the page
    one.post("/rr/close")
    assert one.get(path).status_code == 403


def test_a_reloaded_page_and_a_second_tab_keep_the_session_and_the_last_one_takes_it(served, tmp_path):
    client = visitor(served[0])
    told = client.post("/rr/studies", content=film(tmp_path / "a").read_bytes()).json()
    path = f"/rr/studies/{told['key']}/series/0/pixels/0/1"
    for _ in range(2):  # a reload: the new page is asked for, then the old one says that it goes
        assert "set-cookie" not in client.get("/").headers
        assert client.post("/rr/close").status_code == 204
        assert client.get("/rr/room.json").status_code == 200
    client.get("/")  # a second tab
    client.post("/rr/close")
    assert client.get(path).status_code == 200
    assert client.post("/rr/close").status_code == 204
    assert client.get("/rr/room.json").status_code == 403
    assert client.get(path).status_code == 403
    assert "set-cookie" in client.get("/").headers
    assert client.get("/rr/room.json").status_code == 200
    assert client.get(path).status_code == 404


def test_one_cookie_that_scripts_and_other_sites_cannot_use(served):
    header = TestClient(served[0], base_url=URL).get("/").headers.get_list("set-cookie")
    assert len(header) == 1
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict", header[0])


@pytest.mark.parametrize("path", ["/", "/rr/room.json", "/rr/nothing", "/config", "/rr/web/page.js"])
def test_every_answer_carries_the_strict_headers(served, path):
    headers = visitor(served[0]).get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    ["/config", "/gradio_api/info", "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://x/",
     "/monitoring", "/gradio_api/queue/join", "/openapi.json", "/docs", "/manifest.json", "/rr/web/../app.py",
     "/rr/web/%2e%2e/app.py", "/login", "/gradio_api/vibe-edit/"],
)  # fmt: skip
def test_only_listed_routes_are_there(served, path):
    client = visitor(served[0])
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


@pytest.mark.parametrize("name", ["index.html", "page.txt", "nothing", "nothing.js"])
def test_the_pages_files_are_of_three_kinds(served, name):
    answer = visitor(served[0]).get(f"/rr/web/{name}")
    assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing here."})


def test_foreign_hosts_origins_and_sites_are_refused(served):
    client = visitor(served[0])
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
    ):
        assert client.post("/rr/close", headers=headers).status_code == 403
        assert client.get("/rr/room.json", headers=headers).status_code == 403
    assert client.get("/rr/room.json").status_code == 200
    assert client.post("/rr/close", headers={"sec-fetch-site": "same-origin", "origin": URL}).status_code == 204


def test_hostile_uploads_are_refused_with_a_sentence_and_nothing_stays(served, tmp_path):
    server, _, folder = served
    client = visitor(server)
    html = client.post("/rr/studies", content=b"<html><script>alert(1)</script></html>")
    assert (html.status_code, html.json()["error"]) == (
        422, "This cannot be read: it is text; give a DICOM, NIfTI, PNG, JPEG or TIFF file.",
    )  # fmt: skip
    assert client.post("/rr/studies", content=b"<svg onload='x'/>").status_code == 422
    large = client.post("/rr/studies", content=b"x" * (2 << 20))
    assert (large.status_code, large.json()["error"]) == (413, "The upload is larger than 1 MB: send a part of it.")
    cut = client.post("/rr/studies", content=struct.pack("<Q", 99) + b"abc", headers={"content-type": FRAMED})
    assert (cut.status_code, "cut off" in cut.json()["error"]) == (422, True)
    assert list(folder.rglob("*")) == []


def test_a_study_of_an_archive_is_asked_for_by_list_and_place_and_an_unknown_one_is_a_sentence(served):
    client = visitor(served[0])
    served[1].sessions.remember(client.cookies[COOKIE], "archive a_-9", ["1.2.3"])
    told = [client.post(f"/rr/archive/{each}") for each in ("a_-9/0", "a_-9/1", "b/0")]
    assert [each.status_code for each in told] == [422, 404, 404]
    assert told[0].json()["error"] == "No archive is named: start with --dicomweb URL."
    assert told[2].json()["error"] == "There is no such study in the list: search again."


def test_several_files_in_one_body_are_one_study(served, tmp_path):
    parts = [film(tmp_path / name).read_bytes() for name in "ab"]
    body = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    told = visitor(served[0]).post("/rr/studies", content=body, headers={"content-type": FRAMED}).json()
    assert len(told["series"]) == 2
    assert list(served[2].rglob("*")) == []


def test_nothing_that_identifies_is_logged_or_answered(served, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    client = visitor(served[0])
    answer = client.post("/rr/studies", content=film(tmp_path / "DOE^JANE.dcm").read_bytes())
    client.post("/rr/studies", content=film(tmp_path / "b").read_bytes()[:-500])
    full = [client.post("/rr/studies", content=make(tmp_path).read_bytes()) for make in (planted, report)]
    assert full[0].json()["series"]
    said = capfd.readouterr()
    log = (tmp_path / "audit").read_text()
    answers = "".join(each.text + str(each.headers) for each in (answer, *full))
    everything = "".join((answers, said.out, said.err, caplog.text, log))
    assert [secret for secret in (*SECRETS, *PLANTED, *DATES) if secret in everything] == []
    assert json.loads(log.splitlines()[0])["event"] == "opened"


@pytest.mark.parametrize("explorer", [False, True])
def test_no_answer_names_the_software_that_serves(tmp_path, explorer):
    options = Options(port=0, samples=False)
    running = open_explorer(tmp_path, options) if explorer else open_room(options, readers=())
    try:
        with urlopen(running.url) as answer:
            assert answer.headers["server"] is None
            assert answer.headers["x-content-type-options"] == "nosniff"
    finally:
        running.close()


def test_a_host_of_ipv6_stands_in_brackets_in_addresses_and_names():  # RFC 3986, 3.2.2
    assert "[fd00::5]" in hosts_of("fd00::5", ())
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    running = open_room(Options(host="::1", port=0, samples=False), readers=())
    try:
        assert running.url.startswith("http://[::1]:")
        with urlopen(running.url) as answer:
            assert answer.status == 200
    finally:
        running.close()


def test_off_loopback_needs_users_and_passwords_are_scrypt(served, tmp_path):
    with pytest.raises(UserError, match=r"0\.0\.0\.0 can be reached by others: give --auth FILE"):
        Options(host="0.0.0.0")
    users = tmp_path / "users"
    users.write_text(password_line("jane", "secret", salt=b"0123456789abcdef") + "\n")
    Options(host="0.0.0.0", auth=users)
    client = TestClient(build_server(served[1], hosts=HOSTS, passwords=Passwords(users)), base_url=URL)
    for given, status in (
        (None, 401),
        ("jane:wrong", 401),
        ("joe:secret", 401),
        ("jane:secret", 200),
        ("jane:secret", 200),
    ):
        headers = {} if given is None else {"authorization": "Basic " + base64.b64encode(given.encode()).decode()}
        assert client.get("/", headers=headers).status_code == status
    for text, words in (("", "names no user"), ("jane:secret\n", "line 1 is not name:salt:hash")):
        users.write_text(text)
        with pytest.raises(UserError, match=words):
            Passwords(users)


def test_wrong_passwords_wait_for_each_other_and_hold_up_nobody_else(tmp_path):
    (tmp_path / "users").write_text(password_line("jane", "secret", salt=b"0123456789abcdef") + "\n")
    passwords = Passwords(tmp_path / "users")

    def header(given):
        return "Basic " + base64.b64encode(given.encode()).decode()

    async def asked():
        assert await passwords.admit("", "a") is False
        assert await passwords.admit("Basic café", "b") is False
        wrong = [asyncio.create_task(passwords.admit(header(f"jane:{n}"), "a")) for n in range(40)]
        turns = await asyncio.gather(*(passwords.admit(header("jane:secret"), "c") for _ in range(32)))
        assert turns == [True] * 32  # those of another address
        assert await passwords.admit(header("jane:secret"), "a") is True  # who has entered, from this one too
        ended = [task.result() for task in wrong if task.done()]
        assert ended.count(None) == 8  # 32 wait
        assert len(ended) < 40
        for task in wrong:
            task.cancel()
        await asyncio.gather(*wrong, return_exceptions=True)
        assert await passwords.admit(header("jane:1"), "a") is False  # nobody waits any more

    asyncio.run(asked())


def test_a_public_room_refuses_uploads_with_a_sentence_and_may_be_framed_where_said(tmp_path):
    sessions = Sessions(Limits())
    room = Room((), sessions, samples=None, audit=AuditLog(None), folder=tmp_path, uploads=False)
    surface = replace(ROOM, framed_by="https://demos.example")
    server = build_server(room, hosts=HOSTS, surface=surface)
    first = TestClient(server, base_url=URL).get("/", headers={"x-forwarded-proto": "https"}).headers
    assert first["set-cookie"].endswith("; HttpOnly; SameSite=None; Secure; Partitioned")
    assert first["content-security-policy"].endswith("frame-ancestors https://demos.example")
    assert "x-frame-options" not in first
    client = visitor(server)
    brought = film(tmp_path / "a").read_bytes()
    for route in ("/rr/studies", "/rr/look"):
        told = client.post(route, content=brought)
        assert told.status_code == 422
        assert told.json()["error"] == client.get("/rr/room.json").json()["closed"]
        assert "Nothing can be uploaded here" in told.json()["error"]
    assert room.files == 1  # the film of this test: nothing was written beside it


def test_what_is_no_call_is_told_so_and_written_nowhere(capfd):
    report, running = "Jane Doe has an effusion.", open_room(Options(port=0, samples=False), readers=())
    try:
        with httpx.Client(base_url=f"{running.url}gradio_api/call/", timeout=60) as client:
            client.get(running.url)
            for data in ([report], ["a", 0, 0, [report]], ["a", "0", 0, report], ["a", True, 0, report], report, None):
                told = client.post("check_report", json={"data": data})
                assert (told.status_code, told.json()["detail"]) == (422, (
                    "check_report takes these as data, a list in this order: "
                    "study (str), series (int), model (int), text (str)."
                ))  # fmt: skip
            for body in (b"", b"[]", b"{}", report.encode()):
                assert client.post("check_report", content=body).status_code == 422
            told = client.post("report", json={"data": [report]})
            assert (told.status_code, "choose findings, where," in told.json()["detail"]) == (404, True)
            sent = client.post("export", json={"data": ["a", 0, 0, "png", {"frame": "x"}, False]}).json()
            assert "This study is no longer in the session" in client.get(f"export/{sent['event_id']}").text
    finally:
        running.close()
    told = "".join(capfd.readouterr())
    assert [each for each in ("Jane", "Traceback", "failed") if each in told] == []


def test_a_full_disk_is_told_as_one_and_nothing_is_shown_that_is_not_logged(tmp_path):
    resource = pytest.importorskip("resource")
    log, brought = tmp_path / "audit.jsonl", film(tmp_path / "a").read_bytes()
    running = open_room(Options(port=0, samples=False, audit=log), readers=())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            client.get("/")
            key = client.post("/rr/studies", content=brought).json()["key"]
            export = {"data": [key, 0, 0, "png", {}, False]}
            answers = []
            for size in (log.stat().st_size + 20, soft):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
                uploaded = client.post("/rr/studies", content=brought)
                sent = client.post("/gradio_api/call/export", json=export).json()
                answers.append((uploaded, client.get(f"/gradio_api/call/export/{sent['event_id']}").text))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        running.close()
    told = "Nothing is shown, as the server could not write its files (File too large): make room, then ask again."
    (refused, missing), (again, given) = answers
    assert (refused.status_code, refused.json()["error"]) == (507, told)
    assert (told in missing, "medvlp" in missing, "data" in given) == (True, False, True)
    assert (again.status_code, verify(log)) == (200, 3)


def test_all_are_let_in_only_where_that_was_asked_for(tmp_path):
    with pytest.raises(UserError, match="can be reached by others"):
        Options(host="0.0.0.0")
    assert Options(host="0.0.0.0", public=True).samples
    for more in ({"index": tmp_path}, {"dicomweb": "http://127.0.0.1"}, {"samples": False}):
        with pytest.raises(UserError, match="A public room shows the synthetic studies alone"):
            Options(host="0.0.0.0", public=True, **more)


def test_the_schema_tells_every_queued_function_and_one_is_called_by_what_is_told():
    running = open_room(Options(port=0, samples=False, schema=True), readers=())
    try:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            told = client.get("/gradio_api/info").json()["named_endpoints"]
            assert {name.strip("/") for name in told} == {
                "findings", "where", "slices", "ask", "question", "check_report", "similar", "export", "archive"
            }  # fmt: skip
            assert [each["parameter_name"] for each in told["/ask"]["parameters"]] == [
                "study", "series", "model", "sentence"
            ]  # fmt: skip
            client.get("/")
            sent = client.post("/gradio_api/call/ask", json={"data": ["a", 0, 0, "Left effusion."]}).json()
            answer = client.get(f"/gradio_api/call/ask/{sent['event_id']}").text
        assert "No model is loaded" in answer
    finally:
        running.close()
