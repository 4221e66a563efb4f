"""`easydl app`: on this computer only, private, in words, and gone when it is closed."""

from __future__ import annotations

import base64
import importlib.util
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from served import serve, unused_port

from easydl import launch
from easydl.errors import RESEARCH_USE, MissingPackageError, RunError
from easydl.workspace.door import CLOSED


def websocket_status(port: int, host: str, query: str) -> int:
    """The HTTP status with which the app answers a WebSocket handshake under a host name."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    request = (
        f"GET /_stcore/stream?{query} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: "
        f"Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        return int(connection.recv(200).split()[1])


def put(port: int, path: str, headers: dict[str, str]) -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=b"film", method="PUT", headers=headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.read().decode()


def test_the_app_is_served_on_this_computer_only_and_closes_quietly(tmp_path: Path) -> None:
    port = unused_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with serve(tmp_path / "workspace", port) as served:
            other, query = served.port, served.url.partition("?")[2]
            assert other != port
            words = served.words.read_text()
            assert f"Port {port} is in use by another program; the app takes {other} instead." in words
            assert RESEARCH_USE in words
            assert websocket_status(other, f"127.0.0.1:{other}", query) == 101
            assert websocket_status(other, f"localhost:{other}", query) == 101
            assert websocket_status(other, "evil.example", query) == 403
            assert websocket_status(other, f"127.0.0.1:{other}", "") == 403, "no token"
            assert len(query.removeprefix("token=")) > 40
            file = f"/easydl/arriving/{'0' * 32}/0"
            for method, path in (
                ("GET", "/"),
                ("PUT", "/_stcore/upload_file/a/b"),
                ("GET", "/_stcore/health"),
                ("PUT", file),
            ):
                asked = urllib.request.Request(f"http://127.0.0.1:{other}{path}", method=method)
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(asked, timeout=10)
                assert refused.value.code == 403
                assert CLOSED in refused.value.read().decode()
            with pytest.raises(urllib.error.HTTPError, match="403"):  # as a form of another page would send it
                put(other, f"{file}?{query}", {})
            assert put(other, f"{file}?{query}", {"X-Easydl": "1"}) == "kept"
            assert (served.workspace / "incoming" / ("0" * 32) / "0").read_bytes() == b"film"
    assert served.process.returncode == 0
    closing = served.words.read_text()
    assert "easydl is closed." in closing
    assert "Traceback" not in closing
    time.sleep(0.5)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", other)) != 0, "nothing listens any more"


def test_the_command_keeps_the_app_private_and_calm() -> None:
    words = launch.command(9000)
    for option in (
        "--server.port=9000",
        "--server.address=127.0.0.1",
        "--server.allowedHosts=localhost",
        "--server.allowedHosts=127.0.0.1",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
        "--server.maxUploadSize=2000",
    ):
        assert option in words
    assert not any("enableXsrfProtection" in word or "enableCORS" in word for word in words)
    assert Path(words[4]).name == "serve.py"


def test_every_option_is_one_that_streamlit_knows() -> None:
    from streamlit import config

    known = config.get_config_options()
    asked = [word.removeprefix("--").split("=")[0] for word in launch.command(9000)[5:]]
    assert [option for option in asked if option not in known] == []


def test_the_look_is_one_that_streamlit_knows() -> None:
    import tomllib

    from streamlit import config

    theme = tomllib.loads((launch.app_folder() / "theme.toml").read_text())["theme"]
    assert [key for key in theme if f"theme.{key}" not in config.get_config_options()] == []


def test_without_streamlit_the_advice_names_the_right_package(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install streamlit") as caught:
        launch.launch(workspace=tmp_path)
    assert "install easydl" not in str(caught.value)


def test_no_free_port_is_one_clear_error(monkeypatch) -> None:
    monkeypatch.setattr(launch, "PORTS_TRIED", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunError, match="in use"):
            launch.free_port(taken.getsockname()[1])


def test_a_workspace_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written") as caught:
        launch.launch(unused_port(), tmp_path / "file" / "within", open_browser=False)
    assert caught.value.do


def test_an_app_that_does_not_start_says_where_its_words_are(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("")
    monkeypatch.setattr(launch, "command", lambda port: [os.sys.executable, "-c", "raise SystemExit('no')"])
    said: list[str] = []
    code = launch.launch(unused_port(), tmp_path / "workspace", open_browser=False, say=said.append)
    assert code != 0
    assert "app-log.txt" in said[-1]
    assert "no" in (tmp_path / "workspace" / "app-log.txt").read_text()
