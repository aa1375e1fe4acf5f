"""One sentence from a real server on this machine: what is sent, what comes, and everything that goes wrong."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
from typing import Any

import numpy as np
import pytest
import soundfile

from openkith.audio.io import Audio
from openkith.data.synthesis.http import SpeechServer
from openkith.errors import ConfigError, KithError

KEY = "sk-very-secret-0123456789"
JSON = {"Content-Type": "application/json"}


def speech(n: int = 16_000) -> Audio:
    return Audio((0.1 * np.sin(np.arange(n) / 20)).astype(np.float32), "<test>")


def test_what_is_asked_and_what_comes(server: Any) -> None:
    audio = SpeechServer(server.url, model="m").say("Hello.", voice="nova")
    [(path, headers, _)] = server.asked
    assert path == "/v1/audio/speech"
    assert server.wants() == {"model": "m", "input": "Hello.", "response_format": "wav", "voice": "nova"}
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert (audio.sample_rate, audio.native_rate) == (16_000, 24_000)
    assert audio.seconds == pytest.approx(0.6, abs=0.01)
    assert 20 * np.log10(np.sqrt(np.mean(audio.samples**2))) == pytest.approx(-26, abs=0.1)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", "http://h/v1/audio/speech"),
        ("http://h:81/", "http://h:81/v1/audio/speech"),
        ("https://h/v1", "https://h/v1/audio/speech"),
        ("https://h/tts/v1/", "https://h/tts/v1/audio/speech"),
        ("https://h/v1/audio/speech", "https://h/v1/audio/speech"),
        ("http://[::1]:8880", "http://[::1]:8880/v1/audio/speech"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert SpeechServer(url).address == address


def test_more_fields_style_and_speed(server: Any) -> None:
    SpeechServer(server.url, fields={"language": "en", "seed": 3}).say(
        "Hello.", instructions="Sadly.", speed=0.8
    )
    wants = server.wants()
    assert (wants["language"], wants["seed"], wants["instructions"], wants["speed"]) == (
        "en",
        3,
        "Sadly.",
        0.8,
    )
    assert "voice" not in wants


def test_the_key_goes_into_the_header_alone(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    service = SpeechServer(server.url, key_variable="MY_KEY")
    service.say("Hello.")
    _, headers, body = server.asked[0]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in body
    assert KEY not in repr(service)
    server.answers = [(401, JSON, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())]
    with pytest.raises(
        KithError, match=r"speech: status 401 .*bad key <key>; put the server's key in .* MY_KEY"
    ) as e:
        service.say("Hello.")
    assert KEY not in str(e.value)
    assert len(server.asked) == 2  # not tried again


def test_a_key_that_is_none(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_SPEECH_KEY", "a\nHost: b")
    with pytest.raises(ConfigError, match=r"KITH_SPEECH_KEY has characters") as caught:
        SpeechServer(server.url).say("Hello.")
    assert "Host" not in str(caught.value)
    assert not server.asked


@pytest.mark.parametrize("form", ["base64", "data-url"])
def test_a_voice_to_clone_in_json(server: Any, form: Any) -> None:
    SpeechServer(server.url, reference_field="ref_audio", reference_form=form).say("Hi.", reference=speech())
    text = server.wants()["ref_audio"]
    if form == "data-url":
        assert text.startswith("data:audio/wav;base64,")
        text = text.partition(",")[2]
    sent, rate = soundfile.read(io.BytesIO(base64.b64decode(text)))
    assert rate == 16_000
    assert np.abs(sent - speech().samples).max() < 1e-4


def test_a_voice_to_clone_as_a_form(server: Any) -> None:
    service = SpeechServer(server.url, reference_field='ref"x', reference_form="multipart", fields={"n": 2})
    service.say("Grüße.", voice="a", reference=speech(1600), speed=1.5)
    _, headers, body = server.asked[0]
    kind, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parts = body.split(f"--{boundary}".encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    found = {}
    for part in parts[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found[head.split(b'name="')[1].split(b'"')[0].decode()] = content.removesuffix(b"\r\n")
    assert found["input"].decode() == "Grüße."
    assert (found["voice"], found["speed"], found["n"], found["response_format"]) == (
        b"a",
        b"1.5",
        b"2",
        b"wav",
    )
    assert len(soundfile.read(io.BytesIO(found["ref%22x"]))[0]) == 1600


def test_no_field_no_voice_to_clone(server: Any) -> None:
    with pytest.raises(ConfigError, match="no field is named for the recording"):
        SpeechServer(server.url).say("Hi.", reference=speech())
    assert not server.asked


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_servers_are_asked_again(server: Any, slept: list[float], status: int) -> None:
    server.answers = [(status, {}, b"busy")] * 3
    assert SpeechServer(server.url, backoff=0.5).say("Hi.").seconds > 0.5
    assert len(server.asked) == 4
    assert slept == [0.5, 1.0, 2.0]


def test_the_server_says_how_long_to_wait(server: Any, slept: list[float]) -> None:
    server.answers = [
        (429, {"Retry-After": after}, b"") for after in ("7", "86400", "Wed, 21 Oct 2026 07:28:00 GMT")
    ]
    SpeechServer(server.url).say("Hi.")
    assert slept == [7.0, 60.0, 4.0]


def test_a_server_that_stays_busy(server: Any, slept: list[float]) -> None:
    server.answers = [(503, JSON, b'{"error": "model is loading"}')] * 3
    with pytest.raises(
        KithError, match=r"^http.*/v1/audio/speech: status 503 \(.*\): model is loading, after 2 attempts"
    ):
        SpeechServer(server.url, attempts=2).say("Hi.")
    assert len(slept) == 1


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"error": {"message": "unknown voice nova"}}', "unknown voice nova; check the model's"),
        (404, b"<html>\nnot here\x1b[31m</html>", r"<html> not here \[31m</html>; check the address"),
        (422, b'{"detail": [{"msg": "x"}]}', r'\{"detail": \[\{"msg": "x"\}\]\}; check'),
        (400, b"", r"status 400 \(Bad Request\); check"),
    ],
)
def test_a_refusal_is_one_line_and_final(server: Any, status: int, body: bytes, said: str) -> None:
    server.answers = [(status, {}, body)]
    with pytest.raises(KithError, match=said) as caught:
        SpeechServer(server.url).say("Hi.", voice="nova")
    message = str(caught.value)
    assert message.startswith(f"{server.url}/v1/audio/speech: status {status}")
    assert message.isprintable()
    assert len(server.asked) == 1


def test_a_redirection_is_not_followed(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_SPEECH_KEY", KEY)
    server.answers = [(307, {"Location": f"{server.url}/elsewhere"}, b"")]
    with pytest.raises(
        KithError, match=r"status 307 .*it points to http://127.0.0.1:\d+/elsewhere; give that"
    ):
        SpeechServer(server.url).say("Hi.")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"not audio at all",
        b'{"error": "quota"}',
        b"",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\0" * 5000,
        bytes(range(256)) * 9,
    ],
)
def test_garbage_is_no_speech(server: Any, body: bytes) -> None:
    server.answers = [(200, {"Content-Type": "audio/wav"}, body)]
    with pytest.raises(
        KithError, match=r"/v1/audio/speech: answered, but not with speech as WAV \(.*\)"
    ) as caught:
        SpeechServer(server.url).say("Hi.")
    assert str(caught.value).isprintable()
    assert "<bytes>" not in str(caught.value)


def test_silence_is_no_speech(server: Any) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000), 16_000, format="WAV")
    server.answers = [(200, {}, buffer.getvalue())]
    with pytest.raises(KithError, match="not with speech as WAV"):
        SpeechServer(server.url).say("Hi.")


def test_a_wav_with_the_sizes_of_a_stream(server: Any) -> None:
    """As servers write it that do not know the length beforehand, OpenAI's among them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, speech(24_000).samples, 24_000, format="WAV", subtype="PCM_16")
    body = bytearray(buffer.getvalue())
    for at in (4, body.index(b"data") + 4):
        struct.pack_into("<I", body, at, 0xFFFFFFFF)
    server.answers = [(200, {}, bytes(body))]
    assert SpeechServer(server.url).say("Hi.").seconds == pytest.approx(1.0)


def test_a_late_answer(server: Any, slept: list[float]) -> None:
    server.delay = 5.0
    begin = time.monotonic()
    with pytest.raises(KithError, match=r"no answer within 0\.3 s, after 2 attempts; try later"):
        SpeechServer(server.url, timeout=0.3, attempts=2).say("Hi.")
    assert time.monotonic() - begin < 3
    assert len(slept) == 1


def test_an_answer_that_drips(server: Any) -> None:
    """Each byte is in time, and the whole is not."""
    server.drip = 0.05
    begin = time.monotonic()
    with pytest.raises(KithError, match=r"no answer within 0\.4 s, after 1 attempt;"):
        SpeechServer(server.url, timeout=0.4, attempts=1).say("Hi.")
    assert time.monotonic() - begin < 3


def test_an_answer_that_is_cut_off_is_asked_for_again(server: Any, slept: list[float]) -> None:
    server.answers = [(200, {"Content-Length": "99999", "Connection": "close"}, b"RIFF1234")]
    assert SpeechServer(server.url, timeout=5).say("Hi.").seconds > 0.5
    assert (len(server.asked), len(slept)) == (2, 1)


def test_an_answer_without_end(server: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.data.synthesis.http.MOST_BYTES", 1000)
    with pytest.raises(KithError, match="longer than 1000 bytes"):
        SpeechServer(server.url, attempts=3).say("Hi.")
    assert not slept


def test_a_refusal_whose_body_does_not_come(server: Any) -> None:
    server.answers = [(400, {"Content-Length": "999", "Connection": "close"}, b"half a")]
    with pytest.raises(KithError, match=r"status 400 \(Bad Request\); check the model's"):
        SpeechServer(server.url, timeout=2).say("Hi.")


def test_nobody_there(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        KithError, match=r"^http://127\.0\.0\.1:9/v1/audio/speech: cannot be reached \(.*\); check"
    ):
        SpeechServer("http://127.0.0.1:9").say("Hi.")
    assert not slept


@pytest.mark.parametrize(
    "url", ["", "localhost:8880", "ftp://h", "file:///etc/passwd", "http://", "http://h:x", "http://h h"]
)
def test_no_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address; give one such as"):
        SpeechServer(url)


def test_an_address_with_secrets_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"'http://h' has a user, a password or a query") as caught:
        SpeechServer("http://me:hunter2@h")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", 0.0),
        ("timeout", float("nan")),
        ("attempts", 0),
        ("backoff", -1.0),
        ("reference_form", "hex"),
    ],
)
def test_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"speech server: (reference form|" + field + ")"):
        SpeechServer("http://h", **{field: value})


def test_nothing_to_say(server: Any) -> None:
    with pytest.raises(ConfigError, match="nothing to say; give a text"):
        SpeechServer(server.url).say(" \n")
    assert not server.asked
