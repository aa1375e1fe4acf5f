"""One sentence from a speech server: ``POST /v1/audio/speech`` as OpenAI defined it and many servers answer it.

Asked for WAV, with the standard library alone. The key comes from an environment variable, goes nowhere but into the
request's header, and is in no message. Redirections are not followed, since the key would go with them.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Literal, get_args

import soundfile

from openkith.audio.io import Audio, load
from openkith.data.synthesis.base import at_level
from openkith.errors import AudioError, ConfigError, KithError

__all__ = ["REFERENCE_FORMS", "ReferenceForm", "SpeechServer"]

ReferenceForm = Literal["base64", "data-url", "multipart"]
REFERENCE_FORMS: tuple[ReferenceForm, ...] = get_args(ReferenceForm)

PATH = "/audio/speech"
KEY_VARIABLE = "KITH_SPEECH_KEY"
TRANSIENT = 429  # too many requests; like every status from 500 on, it may be another one the next time
MOST_BYTES = 64_000_000  # of an answer
MOST_SECONDS = 300.0  # of speech in an answer
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
SHOWN_CHARACTERS = 160  # of what the server says about an error


@dataclass(frozen=True)
class SpeechServer:
    """A server that speaks texts.

    Attributes:
        url: Its address: ``http://localhost:8880``, ``https://api.openai.com/v1`` or the whole of it up to
            ``/audio/speech``.
        model: The model's name there.
        key_variable: Environment variable that holds the key; no key is sent where it is not set.
        timeout: Seconds for one answer, from the request to its last byte.
        attempts: How often to ask in all where the answer is 429 or 5xx, late, or cut off.
        backoff: Seconds before the second attempt; twice as long before each later one. ``Retry-After`` of the
            server counts where it is longer, up to a minute.
        reference_field: Where the server clones voices: the field of the request that holds a recording of the
            voice. Empty: it clones none.
        reference_form: How the recording (WAV, 16 kHz) is put there: ``base64`` text in the JSON, a
            ``data-url`` (``data:audio/wav;base64,...``) in the JSON, or as a file of a ``multipart`` form, whose other
            fields are then form fields too.
        fields: More fields of the request, such as ``{"language": "en"}``.

    Raises:
        ConfigError: The address is not one of http or https, holds a password, or a number is out of range.
    """

    url: str
    model: str = "tts-1"
    key_variable: str = KEY_VARIABLE
    timeout: float = 60.0
    attempts: int = 4
    backoff: float = 1.0
    reference_field: str = ""
    reference_form: ReferenceForm = "base64"
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or re.search(r"[\s\x00-\x1f\x7f]", self.url) or not self.url.isascii():
            raise ConfigError(
                f"speech server: {_without_password(self.url)!r} is no address; give one such as http://localhost:8880"
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"speech server: {_without_password(self.url)!r} has a user, a password or a query in it; give the "
                f"plain address, and the key in the environment variable {self.key_variable}"
            )
        for name, low, high in (("timeout", 0.1, 3600.0), ("attempts", 1, 20), ("backoff", 0.0, 60.0)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"speech server: {name} is {value}; give {low:g} to {high:g}")
        if self.reference_form not in REFERENCE_FORMS:
            raise ConfigError(
                f"speech server: reference form {self.reference_form!r} is unknown; use {', '.join(REFERENCE_FORMS)}"
            )

    @property
    def address(self) -> str:
        """The whole address that is posted to."""
        parts = urllib.parse.urlsplit(self.url)
        path = parts.path.rstrip("/")
        if not path.endswith(PATH):
            path = (path or "/v1") + PATH
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    def say(
        self,
        text: str,
        voice: str = "",
        reference: Audio | None = None,
        instructions: str = "",
        speed: float = 1.0,
    ) -> Audio:
        """A text as the server speaks it, mono at 16 kHz and -26 dBFS.

        Args:
            text: What to say.
            voice: The server's name of a voice; empty leaves the choice to the server.
            reference: A recording of the voice to clone; the server needs a `reference_field`.
            instructions: How to say it, in words.
            speed: Multiplier of the tempo, 0.25 to 4.

        Raises:
            ConfigError: The text is empty, or a reference is given to a server that takes none.
            KithError: The server is not there, refuses, does not answer in time, or gives no speech; the message has
                the address, the status and what the server says.
        """
        if not text.strip():
            raise ConfigError("a speech server has nothing to say; give a text")
        fields: dict[str, Any] = {"model": self.model, "input": text, "response_format": "wav"}
        fields |= {"voice": voice} if voice else {}
        fields |= {"instructions": instructions} if instructions else {}
        fields |= {"speed": speed} if speed != 1.0 else {}
        body, kind = self._body({**fields, **self.fields}, reference)
        answer = self._post(body, kind)
        try:
            audio = load(answer, max_seconds=MOST_SECONDS)
            return Audio(
                at_level(audio.samples), f"{self.address} {voice}".strip(), native_rate=audio.native_rate
            )
        except (AudioError, ImportError) as error:
            raise KithError(
                f"{self.address}: answered, but not with speech as WAV ({str(error).removeprefix('<bytes>: ')}): "
                f"{_shown(answer)}"
            ) from error

    def _body(self, fields: Mapping[str, Any], reference: Audio | None) -> tuple[bytes, str]:
        """The request's body and its content type."""
        if reference is None:
            return json.dumps(fields).encode(), "application/json"
        if not self.reference_field:
            raise ConfigError(
                f"{self.address}: no field is named for the recording of a voice to clone; "
                "give reference_field, if the server clones voices"
            )
        buffer = io.BytesIO()
        soundfile.write(buffer, reference.samples, reference.sample_rate, format="WAV", subtype="PCM_16")
        wav = buffer.getvalue()
        if self.reference_form == "multipart":
            return _form(fields, self.reference_field, wav)
        prefix = "data:audio/wav;base64," if self.reference_form == "data-url" else ""
        text = prefix + base64.b64encode(wav).decode()
        return json.dumps({**fields, self.reference_field: text}).encode(), "application/json"

    def _post(self, body: bytes, kind: str) -> bytes:
        """The body of a good answer; asks again where that may help."""
        headers = {"Content-Type": kind, "Accept": "audio/wav", "User-Agent": "openkith"}
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not key.isprintable() or not key.isascii():
            raise ConfigError(f"the key in {self.key_variable} has characters that no key has; set it anew")
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        problem = ""
        for attempt in range(self.attempts):
            wait = 0.0
            try:
                return self._ask(urllib.request.Request(self.address, body, headers, method="POST"))
            except urllib.error.HTTPError as error:
                said = _hide(_said(error, time.monotonic() + self.timeout), key)
                problem = f"status {error.code} ({error.reason}){': ' + said if said else ''}"
                if error.code != TRANSIENT and error.code < 500:
                    raise KithError(
                        f"{self.address}: {_hide(problem, key)}; {_remedy(error, self)}"
                    ) from None
                wait = _retry_after(error.headers)
            except (TimeoutError, http.client.HTTPException, ConnectionError, urllib.error.URLError) as error:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                if not isinstance(reason, TimeoutError | http.client.HTTPException | ConnectionResetError):
                    raise KithError(
                        f"{self.address}: cannot be reached ({_hide(_one_line(str(reason)), key)}); "
                        "check the address, and that the server runs"
                    ) from None
                late = isinstance(reason, TimeoutError)
                problem = f"no answer within {self.timeout:g} s" if late else "the answer was cut off"
            if attempt + 1 < self.attempts:
                time.sleep(min(max(wait, self.backoff * 2**attempt), LONGEST_WAIT))
        times = f"{self.attempts} attempts" if self.attempts > 1 else "1 attempt"
        raise KithError(f"{self.address}: {_hide(problem, key)}, after {times}; try later")

    def _ask(self, request: urllib.request.Request) -> bytes:
        deadline = time.monotonic() + self.timeout
        opener = urllib.request.build_opener(_NoRedirection)
        with opener.open(request, timeout=self.timeout) as answer:
            return _read(answer, deadline)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Leaves an answer of 3xx an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        return None


def _read(answer: Any, deadline: float) -> bytes:
    """The whole body, unless it comes too slowly or never ends."""
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(65_536):
        size += len(part)
        if size > MOST_BYTES:
            raise KithError(f"{answer.url}: the answer is longer than {MOST_BYTES} bytes; check the address")
        if time.monotonic() > deadline:
            raise TimeoutError
        parts.append(part)
    missing = getattr(answer, "length", None)
    if missing:
        raise http.client.IncompleteRead(b"", missing)
    return b"".join(parts)


def _said(error: urllib.error.HTTPError, deadline: float) -> str:
    """What the body of a refusal says; nothing where it does not come."""
    with error:
        try:
            return _shown(_read(error, deadline))
        except (OSError, http.client.HTTPException, KithError):
            return ""


def _form(fields: Mapping[str, Any], name: str, wav: bytes) -> tuple[bytes, str]:
    """A multipart form (RFC 7578) of text fields and one WAV file."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(key)}"\r\n\r\n{_form_text(value)}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; filename="reference.wav"\r\n'
    parts.append(f"{head}Content-Type: audio/wav\r\n\r\n".encode() + wav + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _form_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _retry_after(headers: Message) -> float:
    """Seconds that the server asks to wait; 0 where it names none."""
    text = str(headers.get("Retry-After", "")).strip()
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text, re.ASCII) else 0.0


def _remedy(error: urllib.error.HTTPError, server: SpeechServer) -> str:
    if error.code in (401, 403):
        return f"put the server's key in the environment variable {server.key_variable}"
    if 300 <= error.code < 400:
        target = _without_password(str(error.headers.get("Location", "another address")))
        return f"it points to {_one_line(target)[:200]}; give that"
    if error.code in (404, 405):
        return "check the address and the model's name"
    return "check the model's and the voice's name"


def _shown(body: bytes) -> str:
    """What a body says, as one short line: the message of a JSON error, or its beginning."""
    text = body[:4000].decode("utf-8", "replace")
    try:
        value = json.loads(text)
        error = value.get("error", value) if isinstance(value, dict) else value
        message = error.get("message", error) if isinstance(error, dict) else error
        text = message if isinstance(message, str) else json.dumps(message)
    except ValueError:
        pass
    line = _one_line(text)
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _hide(text: str, key: str) -> str:
    """The text without the key, which a server may quote."""
    return text.replace(key, "<key>") if key else text


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
