"""Downloads from a small server on this machine that can behave badly."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kmrcnn.weights.download import DownloadError, cache_dir, cached_path, fetch

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if self.path == "/missing.pth":
            return self.send_error(404)
        if server.failures and server.failures.pop(0) == "error":
            return self.send_error(503)
        content, start = server.content, 0
        if wanted and server.ranged:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            start += server.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            body = body[: server.breaks.pop(0)]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients that hang up early are part of the tests."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("KMRCNN_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.content, server.ranged, server.shift = CONTENT, True, 0
    server.ranges, server.breaks, server.failures = [], [], []
    server.url = f"http://127.0.0.1:{server.server_port}/models/a.pth"
    server.part = cached_path(server.url).with_name("a.pth.part")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _leave_part(server, content):
    server.part.parent.mkdir(parents=True)
    server.part.write_bytes(content)


def test_file_comes_once_and_is_then_taken_from_the_cache(server):
    path = fetch(server.url, SHA256, len(CONTENT), progress=False)
    assert path == cached_path(server.url) and path.read_bytes() == CONTENT
    assert fetch(server.url, SHA256, len(CONTENT), progress=False) == path
    assert server.ranges == [None] and not server.part.exists()


@pytest.mark.parametrize(
    "checks", [{"sha256": SHA256[:8]}, {"md5": MD5[:6]}, {"sha256": SHA256.upper()}, {}]
)
def test_leading_digits_of_a_digest_are_enough(server, checks):
    assert fetch(server.url, progress=False, **checks).read_bytes() == CONTENT


@pytest.mark.parametrize("checks", [{"sha256": "0" * 8}, {"md5": "0" * 6}])
def test_wrong_hash_is_an_error_and_leaves_nothing(server, checks):
    with pytest.raises(ValueError, match="00000") as caught:
        fetch(server.url, progress=False, **checks)
    assert server.url in str(caught.value)
    assert not server.part.exists() and not cached_path(server.url).exists()


def test_wrong_size_is_an_error(server):
    with pytest.raises(ValueError, match="17"):
        fetch(server.url, SHA256, 17, progress=False)


def test_broken_connection_is_continued_where_it_broke(server):
    server.breaks = [300_000, 400_000]
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=700000-"]


def test_part_of_an_earlier_call_is_continued(server):
    _leave_part(server, CONTENT[:12345])
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT
    assert server.ranges == ["bytes=12345-"]


def test_server_without_ranges_sends_all_again(server):
    server.ranged = False
    _leave_part(server, CONTENT[:12345])
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 999, CONTENT + b"tail", b"x" * len(CONTENT)])
def test_part_of_another_file_is_thrown_away(server, part):
    _leave_part(server, part)
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT


def test_complete_part_is_only_renamed(server):
    _leave_part(server, CONTENT)
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_without_a_hash_no_part_is_trusted(server):
    _leave_part(server, b"x" * 999)
    server.breaks = [1000]
    assert fetch(server.url, progress=False).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_server_that_sends_another_range_is_asked_from_the_start(server):
    server.shift = 7
    _leave_part(server, CONTENT[:100])
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT


def test_passing_error_of_the_server_is_tried_again(server):
    server.failures = ["error", "error"]
    assert fetch(server.url, SHA256, progress=False).read_bytes() == CONTENT


def test_giving_up_keeps_the_part_and_says_where_to_put_the_file(server):
    server.breaks = [1000, 1000, 1000]
    with pytest.raises(DownloadError) as caught:
        fetch(server.url, SHA256, progress=False)
    assert server.url in str(caught.value) and str(cached_path(server.url)) in str(caught.value)
    assert server.part.read_bytes() == CONTENT[:3000]


def test_missing_file_is_not_asked_for_again(server):
    url = server.url.replace("models/a.pth", "missing.pth")
    with pytest.raises(DownloadError, match="404"):
        fetch(url, SHA256, progress=False)
    assert len(server.ranges) == 1


def test_offline_names_url_and_cache_path(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError) as caught:
        fetch(server.url, SHA256, progress=False)
    assert server.url in str(caught.value) and str(cached_path(server.url)) in str(caught.value)


def test_file_put_there_by_hand_is_used_or_refused_but_never_deleted(server):
    path = cached_path(server.url)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(server.url, SHA256, progress=False) == path
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="Delete it") as caught:
        fetch(server.url, SHA256, progress=False)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"something else" and server.ranges == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "http://a", "http://a/../b"])
def test_other_addresses_are_refused(url):
    with pytest.raises(ValueError, match="url"):
        fetch(url)


@pytest.mark.parametrize(
    "platform,variable,expected",
    [
        ("linux", "XDG_CACHE_HOME", "kmrcnn"),
        ("win32", "LOCALAPPDATA", "kmrcnn"),
        ("linux", "KMRCNN_CACHE", ""),
        ("darwin", "KMRCNN_CACHE", ""),
    ],
)
def test_cache_folder_of_each_platform(monkeypatch, tmp_path, platform, variable, expected):
    for name in ("KMRCNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_dir() == tmp_path / expected


def test_progress_goes_to_stderr(server, capsys):
    fetch(server.url, SHA256)
    captured = capsys.readouterr()
    assert captured.out == "" and "a.pth" in captured.err
