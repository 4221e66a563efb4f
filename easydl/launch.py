"""`easydl app`: start the app on this computer only, and stop it quietly. It knows nothing of its pages."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path

from easydl.errors import RESEARCH_USE, RunError, missing_package
from easydl.fileio import private_log
from easydl.workspace import Workspace
from easydl.workspace.door import TOKEN

ADDRESS = "127.0.0.1"
PORTS_TRIED = 20
UPLOAD_MB = 2000
TOKEN_VARIABLE = "EASYDL_TOKEN"
"""How the app's process gets the token of its address: a command line can be read by every user of a computer."""

# Options on the command line, because a config file is read only from the folder the user happens to be in.
_OPTIONS = {
    "server.address": ADDRESS,  # by default the app would be open to the whole network
    "server.allowedHosts": ["localhost", ADDRESS],  # refuses a web page that rebinds its own name to this address
    "server.headless": "true",  # the browser is opened here, when the app answers
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(UPLOAD_MB),
    "server.disconnectedSessionTTL": "600",  # seconds: a laptop may sleep for a moment
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": "false",  # it writes every loose text of a page's file on the page
    "client.disableDataExport": "true",  # tables are offered as files that a spreadsheet opens safely
    "logger.level": "error",
}


def app_folder() -> Path:
    """The folder of the app: inside the installed package, or next to it in a checkout.

    Raises:
        RunError: The app was not installed with the package.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "app", package.parent / "app"):
        if (folder / "main.py").is_file():
            return folder
    raise RunError(
        "The app's files are missing from this installation.",
        f"main.py in {package / 'app'}.",
        "Install easydl-med again.",
    )


def free_port(port: int) -> int:
    """The first of the 20 ports from ``port`` on that no other program uses.

    Raises:
        RunError: All of them are in use.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # a port that was closed a moment ago counts as free, as it does for the app
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, candidate))
            except OSError:
                continue
            return candidate
    raise RunError(
        f"The ports {port} to {port + PORTS_TRIED - 1} are all in use.",
        "one free port on this computer.",
        "Close an app that is still open, or choose another with: easydl app --port 9000",
    )


def command(port: int) -> list[str]:
    """The command that runs the app on a port, with every option that keeps it private and calm."""
    folder = app_folder()
    arguments = [f"--server.port={port}", f"--theme.base={folder / 'theme.toml'}"]
    for option, values in _OPTIONS.items():
        arguments += [f"--{option}={value}" for value in ([values] if isinstance(values, str) else values)]
    return [sys.executable, "-m", "streamlit", "run", str(folder / "serve.py"), *arguments]


def launch(
    port: int = 8501,
    workspace: str | Path | None = None,
    open_browser: bool = True,
    *,
    say: Callable[[str], object] = print,
) -> int:
    """Run the app until Ctrl-C, on the first free port from ``port`` on. It sends nothing anywhere.

    Its address holds a random token; without it nobody else on this computer is let in.

    Returns:
        0 when the user closed it; otherwise what the app's process returned.

    Raises:
        MissingPackageError: Streamlit is not installed.
        RunError: No free port, a workspace that cannot be written, or the app's files are missing.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise missing_package("streamlit", "app", "The app")
    chosen = free_port(port)
    if chosen != port:
        say(f"Port {port} is in use by another program; the app takes {chosen} instead.")
    home = Workspace(workspace).folder
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "EASYDL_WORKSPACE": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        TOKEN_VARIABLE: (token := secrets.token_urlsafe()),
    }
    url = f"http://{ADDRESS}:{chosen}"
    with private_log(home / "app-log.txt") as log:
        app = subprocess.Popen(command(chosen), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a closed terminal window ends the app as well
    try:
        if not _answers(f"{url}/_stcore/health?{TOKEN}={token}", app):
            say(f"The app did not start. What it said is in {home / 'app-log.txt'}.")
            return _end(app) or 1
        page = f"{url}/?{TOKEN}={token}"
        say(f"easydl is open at {page}\nRuns and uploads are kept in {home}\nPress Ctrl-C to close it.")
        say(RESEARCH_USE)
        if open_browser:
            webbrowser.open(page)
        return app.wait()
    except KeyboardInterrupt:
        _end(app)
        say("easydl is closed. A training that is running goes on; open the app again to watch it.")
        return 0
    finally:
        _end(app)


def _answers(url: str, app: subprocess.Popen[bytes], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and app.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _end(app: subprocess.Popen[bytes]) -> int:
    if app.poll() is None:
        app.terminate()
        try:
            app.wait(timeout=5)
        except subprocess.TimeoutExpired:
            app.kill()
            app.wait()
    return app.returncode
