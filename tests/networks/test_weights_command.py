"""The command `easydl weights`: what is listed, fetched, checked, and what it says where. No network is used."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from easydl import cli
from easydl.errors import InputError, WeightsError
from easydl.networks.pretrained import sources
from easydl.networks.pretrained.sources import SHIPPED
from easydl.networks.registry import ENTRIES

TINY = ENTRIES["mobilenet_025"]


def run(*words, code=0):
    result = CliRunner().invoke(cli.app, ["weights", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def cache():
    sources.folders()[0].mkdir(parents=True, exist_ok=True)
    return sources.folders()[0]


def test_list_says_which_networks_have_weights_and_which_are_here(official):
    rows = json.loads(run("list", "--json"))
    assert {row["network"] for row in rows if row["source"] == "radimagenet"} == {
        "resnet50", "densenet121", "inceptionv3", "inceptionresnetv2", "resnet3d50", "densenet3d",
    }  # fmt: skip
    by_name = {(row["network"], row["source"]): row for row in rows}
    assert [row["network"] for row in rows if row["here"]] == [SHIPPED]
    assert by_name["resnet3d50", "imagenet"]["file"] == by_name["resnet50", "imagenet"]["file"]
    assert by_name["mobilenet_025", "imagenet"]["megabytes"] == 0.9
    assert ("tiny", "imagenet") not in by_name
    shutil.copy(official, cache())
    rows = json.loads(run("list", "--json"))
    assert [row["network"] for row in rows if row["here"]] == ["mobilenet_025", SHIPPED]
    assert TINY.weights_file in run("list")


def test_fetch_brings_several_and_keeps_what_is_here(mirror, official):
    assert run("fetch", "mobilenet_025").strip() == str(cache() / TINY.weights_file)
    assert run("fetch", "mobilenet_025", "mobilenet_025").split() == [str(cache() / TINY.weights_file)] * 2
    assert mirror.asked == [f"/keras/{TINY.weights_file}"]


def test_fetch_says_what_it_cannot_bring():
    with pytest.raises(WeightsError, match="could not be downloaded"):
        run("fetch", "mobilenet_025")
    with pytest.raises(WeightsError, match="no RadImageNet weights for mobilenet_025"):
        run("fetch", "mobilenet_025", "--source", "radimagenet")
    with pytest.raises(InputError, match="'flickr'"):
        run("fetch", "mobilenet_025", "--source", "flickr")
    with pytest.raises(InputError, match="Unknown classifier"):
        run("fetch", "mobilenet_025", "resnet51")


def test_verify_of_a_new_computer_is_about_what_came_with_the_package():
    assert run("verify").strip() == (
        "efficientnet_lite0_notop_float16.h5 (ImageNet, efficientnetlite0): checksum and contents are right."
    )


def test_verify_looks_at_everything(official):
    shutil.copy(official, cache())
    total = hashlib.sha256(official.read_bytes()).hexdigest()
    shutil.copy(official, cache() / f"mine.sha256-{total}.h5")
    (cache() / "resnet50.h5").write_bytes(b"whose?")
    (cache() / f"{TINY.weights_file}.0badcafe.part").write_bytes(b"half")
    (cache() / "readme.txt").write_text("not looked at")
    rows = {row["file"]: row["state"] for row in json.loads(run("verify", "--json"))}
    assert rows == {
        TINY.weights_file: "good",
        f"mine.sha256-{total}.h5": "good",
        "resnet50.h5": "unknown",
        f"{TINY.weights_file}.0badcafe.part": "unfinished",
        ENTRIES[SHIPPED].weights_file: "good",
    }
    text = run("verify")
    assert "no sum is published" in text
    assert "can be deleted" in text
    assert "not looked into" in text


@pytest.mark.parametrize("kind", ["contents", "checksum", "address"])
def test_verify_finds_damage_and_ends_with_code_1(official, kind):
    name = {
        "contents": TINY.weights_file,
        "checksum": ENTRIES["resnet50"].weights_file,
        "address": f"mine.md5-{'0' * 32}.h5",
    }[kind]
    content = official.read_bytes()
    (cache() / name).write_bytes(content[: len(content) // 2] if kind == "contents" else content)
    text = run("verify", code=1)
    assert str(cache() / name) in text
    assert "Delete it" in text
    assert [row["state"] for row in json.loads(run("verify", "--json", code=1))] == ["damaged", "good"]


def test_verify_tells_a_changed_file_with_a_published_checksum(official, monkeypatch):
    content = official.read_bytes()
    known = {"weights_hash": hashlib.md5(content).hexdigest()}
    monkeypatch.setitem(ENTRIES, TINY.name, type(TINY)(**{**TINY.__dict__, **known}))
    (cache() / TINY.weights_file).write_bytes(content)
    assert "checksum and contents are right" in run("verify")
    (cache() / TINY.weights_file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "its checksum is" in run("verify", code=1)


def test_where_names_folders_in_order_and_every_setting(official, monkeypatch):
    shutil.copy(official, cache())
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "https://mirror.example/keras/")
    monkeypatch.setenv("HTTPS_PROXY", "http://name:password@proxy.example:8080")
    found = json.loads(run("where", "--json"))
    assert [place["folder"] for place in found["folders"]] == [str(folder) for folder in sources.folders()]
    assert [place["files"] for place in found["folders"]] == [1, 0, 1]
    assert found["folders"][0]["megabytes"] == round(official.stat().st_size / 1e6, 1)
    assert found["mirror"] == "https://mirror.example/keras"
    assert found["proxies"] == ["HTTPS_PROXY", "NO_PROXY"]
    text = run("where")
    for needed in (str(cache()), "variable EASYDL_WEIGHTS.", "EASYDL_WEIGHTS_URL", "HTTPS_PROXY", "mirror.example"):
        assert needed in text
    assert "password" not in text + json.dumps(found)


def test_the_command_loads_no_tensorflow_and_shows_no_traceback():
    code = (
        "import sys; from easydl import cli; sys.argv = ['easydl', 'weights', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "finally: print('tensorflow' in sys.modules, file=sys.stderr)"
    )
    for words, expected in (("list", 0), ("where", 0), ("verify", 0), ("fetch resnet", 1)):
        done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
        assert done.returncode == expected, done.stderr
        assert done.stderr.endswith("False\n")
        assert "Traceback" not in done.stderr
