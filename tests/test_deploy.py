"""What `deploy` says about openkith is so: its commands, options, variables, files and ports exist."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from openkith.cli import app
from openkith.gallery.database import locate

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SOURCE = ROOT / "src" / "openkith"
DAEMON = SOURCE / "service"
NAMES = ("kith.service", "Dockerfile", "compose.yaml")
PORT = 8737
EXPOSURE = 20  # tenths, of systemd-analyze: "OK" ends at 40

pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="no deploy folder beside the tests")


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def unit() -> dict[str, dict[str, list[str]]]:
    """Section to name to values, in order; an empty line of a file of systemd's own has no other meaning here."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in text("kith.service").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        section.setdefault(name, []).append(value)
    return sections


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, continuation lines joined."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def all_of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def compose() -> dict[str, Any]:
    return yaml.safe_load(text("compose.yaml"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def constrained() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


COMMAND = re.compile(r"\b(?:kith|openkith) ((?:serve|keys|encryption|models|backup|restore)\b[^`&|)\n]*)")


def commands() -> list[tuple[str, str]]:
    """File and what follows ``kith``, of every call that a file makes or asks for."""
    found = [(name, call[1].strip()) for name in NAMES for call in COMMAND.finditer(text(name))]
    return [*found, ("Dockerfile", shlex.join(json.loads(all_of("CMD")[0])))]


def check_command(words: list[str]) -> None:
    """Walk down to the command, and look up each option of it."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, f"{words} ends in the middle"
        assert rest[0] in command.commands, f"there is no {rest[0]!r} in: kith {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    options = {name: option for option in command.params for name in option.opts}
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            assert word in options, f"there is no option {word} in: kith {' '.join(words)}"
            if not options[word].is_flag:
                assert rest, f"{word} has no value in: kith {' '.join(words)}"
                rest.pop(0)


def test_commands_are_found() -> None:
    found = {(name, words.split()[0]) for name, words in commands()}
    assert {("kith.service", word) for word in ("serve", "keys", "encryption", "models")} <= found
    assert {("Dockerfile", word) for word in ("serve", "keys", "models")} <= found
    assert ("compose.yaml", "keys") in found


@pytest.mark.parametrize("words", sorted({words for _, words in commands()}))
def test_commands_and_options_exist(words: str) -> None:
    check_command(shlex.split(words))


@pytest.mark.parametrize("words", [["serve", "--porth", "1"], ["serf"], ["keys", "make", "x"], ["keys"]])
def test_other_commands_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(AssertionError):
        check_command(words)


def test_variables_exist() -> None:
    """Each variable that a file sets is one that the package reads."""
    read = {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("KITH_")
    }
    for name in NAMES:
        named = set(re.findall(r"\bKITH_[A-Z_]+\b", text(name)))
        assert named, name
        assert named <= read, name


def test_secrets_stay_out_of_the_repository() -> None:
    ignored = text(".gitignore").split()
    secret = Path(compose()["secrets"]["kith_key"]["file"]).name
    assert any(fnmatch.fnmatch(secret, pattern) for pattern in ignored)
    assert ".env" in ignored
    tracked = {path.name for path in DEPLOY.iterdir()}
    assert tracked - {secret, ".env"} == {*NAMES, "Dockerfile.dockerignore", ".gitignore"}


# The unit of systemd


def test_unit_is_hardened() -> None:
    service = unit()["Service"]
    wanted = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "CapabilityBoundingSet": "",
        "RestrictNamespaces": "yes",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        "SystemCallArchitectures": "native",
        "LimitCORE": "0",
        "UMask": "0077",
        "IPAddressDeny": "any",
    }
    assert {name: service.get(name) for name in wanted} == {name: [value] for name, value in wanted.items()}
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged"]


def test_unit_keeps_what_the_daemon_needs() -> None:
    """Not all hardening is harmless: decode workers set limits, torch makes code, a stop finishes what has begun."""
    service = unit()["Service"]
    assert "MemoryDenyWriteExecute" not in service
    assert not [entry for entry in service["SystemCallFilter"] if "@resources" in entry]
    assert service["KillMode"] == ["mixed"]
    assert int(service["TimeoutStopSec"][0]) > 30  # shutdown_seconds of the daemon
    gallery = next(v for v in service["Environment"] if v.startswith("KITH_GALLERY=")).partition("=")[2]
    assert gallery.startswith(f"/var/lib/{service['StateDirectory'][0]}/")
    assert locate(gallery).database == gallery
    assert service["ExecStart"][0].startswith("/opt/openkith/bin/kith serve --host 127.0.0.1 ")


def systemd_version() -> int:
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else 0


@pytest.mark.skipif(systemd_version() < 250, reason="no systemd-analyze of version 250 or newer")
def test_unit_as_systemd_sees_it(tmp_path: Path) -> None:
    """It knows every setting and value, and finds little that the service could do."""
    path = tmp_path / "kith.service"
    path.write_text(re.sub(r"/opt/openkith/bin/kith", shutil.which("true") or "", text("kith.service")))
    found = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in found.stderr.splitlines() if line.startswith(str(path))]
    assert (found.returncode, complaints) == (0, [])
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exposed.returncode == 0, exposed.stdout[-300:]


@pytest.mark.skipif(systemd_version() < 250, reason="no systemd-analyze of version 250 or newer")
def test_systemd_would_notice(tmp_path: Path) -> None:
    path = tmp_path / "kith.service"
    path.write_text("[Service]\nExecStart=/bin/true\nNoNewPrivilges=yes\n")
    found = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert "NoNewPrivilges" in found.stderr


# The image


def test_image_has_torch_for_processors_as_pinned() -> None:
    """The index of builds without CUDA, and the version that the file's own shell finds in constraints.txt."""
    torch = next(run for run in all_of("RUN") if "torch" in run)
    assert "--index-url https://download.pytorch.org/whl/cpu" in torch
    assert "--no-deps" in torch
    assert "--extra-index-url" not in text("Dockerfile")
    requirement = shlex.split(torch.partition("whl/cpu")[2])[0]
    shown = subprocess.run(
        ["sh", "-c", f'printf %s "{requirement}"'], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown == f"torch=={constrained()['torch']}+cpu"
    order = [rest for word, rest in instructions() if word == "RUN"]
    assert order.index(torch) < next(n for n, run in enumerate(order) if "pip install -c" in run)


def test_image_installs_the_rest_as_constrained() -> None:
    installs = [run for run in all_of("RUN") if "pip install" in run and "torch" not in run]
    assert installs
    assert all("-c constraints.txt" in run for run in installs)


def test_extras_exist() -> None:
    named = [extras for name in NAMES for extras in re.findall(r"[\w.]\[([a-z,]+)\]", text(name))]
    assert len(named) == 2
    for extras in named:
        assert set(extras.split(",")) == {"service", "encryption", "postgresql", "media"}
        assert set(extras.split(",")) <= set(project()["optional-dependencies"])


def test_image_stages() -> None:
    bases = [line.split()[0] for line in all_of("FROM")]
    assert len(bases) == 2
    assert bases[0] == bases[1]  # a virtual environment points to the Python that made it
    version = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", bases[0])
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project()["classifiers"]


def test_image_is_not_root_and_holds_no_state() -> None:
    last = instructions()[[word for word, _ in instructions()].index("FROM", 1) :]
    words = [word for word, _ in last]
    user = dict(last)["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert f"--uid {user.partition(':')[0]} " in dict(last)["RUN"]
    assert f"chown {user.partition(':')[0]} kith.key" in text("compose.yaml")
    assert words.index("RUN") < words.index("USER") < words.index("ENTRYPOINT")
    variables = dict(pair.split("=", 1) for pair in dict(last)["ENV"].split())
    assert variables["KITH_GALLERY"].startswith(dict(last)["VOLUME"] + "/")
    assert f"KITH_MODELS={variables['KITH_MODELS']} kith models pull ge2e" in all_of("RUN")
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["kith"]


def passes(path: str) -> bool:
    """Whether the build sees a path, by the patterns of the ignore file; the last that fits decides."""
    seen = True
    for line in text("Dockerfile.dockerignore").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, negated = line.removeprefix("!"), line.startswith("!")
        parts = path.split("/")
        fits = any(
            fnmatch.fnmatch("/".join(parts[start:end]), pattern.removeprefix("**/"))
            for start in range(len(parts) if pattern.startswith("**/") else 1)
            for end in range(start + 1, len(parts) + 1)
        )
        seen = negated if fits else seen
    return seen


def test_image_is_built_from_what_is_there() -> None:
    copied = [name for line in all_of("COPY") if not line.startswith("--from") for name in line.split()[:-1]]
    for name in copied:
        assert (ROOT / name).exists(), name
        assert passes(name), name
    assert {"constraints.txt", "pyproject.toml", "src", project()["readme"]} <= set(copied)
    assert set(project()["license-files"]) <= set(copied)  # the build backend wants them


def test_image_sees_no_secrets() -> None:
    for name in ("deploy/kith.key", "deploy/.env", ".git/config", "gallery.db", "tests/conftest.py"):
        assert not passes(name), name
    assert not passes("src/openkith/__pycache__/errors.cpython-312.pyc")
    assert passes("src/openkith/errors.py")


class Ready(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_health_check(status: int, healthy: bool) -> None:
    """The very line of the file, against a server that is ready or not."""
    line = all_of("HEALTHCHECK")[0]
    command = json.loads(line.partition("CMD ")[2])
    assert command[0] == "python"
    assert f":{PORT}/readyz" in command[2]
    assert '"/readyz"' in "".join(path.read_text(encoding="utf-8") for path in DAEMON.rglob("*.py"))
    with HTTPServer(("127.0.0.1", 0), type("Handler", (Ready,), {"status": status})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = command[2].replace(f":{PORT}", f":{server.server_port}")
        done = subprocess.run([sys.executable, *command[1:2], code], capture_output=True, check=False)
        server.shutdown()
    assert (done.returncode == 0) is healthy


def test_one_port() -> None:
    """That of the daemon, everywhere."""
    settings = ast.parse((DAEMON / "settings.py").read_text(encoding="utf-8"))
    default = next(
        node.value.value
        for node in ast.walk(settings)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "port"
        and isinstance(node.value, ast.Constant)
    )
    assert default == PORT
    assert all_of("EXPOSE") == [str(PORT)]
    assert json.loads(all_of("CMD")[0])[-2:] == ["--port", str(PORT)]
    assert unit()["Service"]["ExecStart"][0].endswith(f" --port {PORT}")
    assert compose()["services"]["kith"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


# The two containers


def test_compose_builds_this_image() -> None:
    build = compose()["services"]["kith"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert ((DEPLOY / build["context"]) / build["dockerfile"]).resolve() == (DEPLOY / "Dockerfile").resolve()


def test_compose_gallery_is_the_database() -> None:
    services = compose()["services"]
    database = services["database"]["environment"]
    url = services["kith"]["environment"]["KITH_GALLERY"]
    password = database["POSTGRES_PASSWORD"]
    assert re.fullmatch(r"\$\{DATABASE_PASSWORD:\?[^}]+\}", password)  # compose stops where there is none
    assert password in url
    found = locate(url.replace(password, "0123abc"))
    assert (found.drivername, found.host) == ("postgresql+psycopg", "database")
    assert (found.username, found.database) == (database["POSTGRES_USER"], database["POSTGRES_DB"])
    assert services["kith"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "pg_isready" in services["database"]["healthcheck"]["test"]


def test_compose_opens_nothing_but_the_daemon_to_this_machine() -> None:
    document = compose()
    kith, database = document["services"]["kith"], document["services"]["database"]
    assert "ports" not in database
    assert document["networks"]["inside"] == {"internal": True}
    assert database["networks"] == ["inside"]
    assert all(port.startswith("127.0.0.1:") for port in kith["ports"])
    assert kith["read_only"] is True
    assert kith["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in kith["security_opt"]
    assert not {"privileged", "network_mode", "volumes", "pid"} & set(kith)


def test_compose_names_what_it_defines() -> None:
    document = compose()
    for service in document["services"].values():
        assert set(service.get("networks", [])) <= set(document["networks"])
        assert set(service.get("secrets", [])) <= set(document["secrets"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(document["volumes"])
    assert document["services"]["kith"]["environment"]["KITH_KEY_FILE"] == "/run/secrets/kith_key"
