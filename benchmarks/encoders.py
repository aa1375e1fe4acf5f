"""Speed and memory of every encoder. `python benchmarks/encoders.py [NAME ...]`.

Each in a process of its own, on one thread, with random weights (those of GE2E are fetched), which take as long as
trained ones. Printed: how many times faster than the speech plays clips are embedded one by one; the peak memory of the
process; one call with all clips against one by one (for none slower: at least 0.95, within what the same call varies),
and the largest difference between the two (at most 1e-4); and, where the original implementation is on PyPI, how many
times as fast as it: Resemblyzer 0.1.4 for GE2E (`--install DIR` says where it is, or goes), transformers for WavLM. The
others have no original that pip installs beside this torch.

CPU seconds; all run in turn in each round, the median of the ratios counts. Exits 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from encoder_parity import SPEECH, import_resemblyzer, install
from encoder_speed import peak_bytes
from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.encoders import Encoder, load_encoder
from openkith.encoders.base import ENCODERS

LEAST_BATCH = 0.95
LARGEST_DIFFERENCE = 1e-4

Embed = Callable[[Sequence[Audio]], NDArray[np.float32]]


def saved(network: torch.nn.Module, path: Path, prefix: str = "") -> Path:
    """The state dict of a network with weights that are random, in a file of its own."""
    torch.save({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}, path)
    return path


def eres2netv2(folder: Path) -> Path:
    from openkith.encoders.networks.eres2net import ERes2NetV2Network

    return saved(ERes2NetV2Network(), folder / "eres2netv2.ckpt")


def eres2netv2_wide(folder: Path) -> Path:
    from openkith.encoders.networks.eres2net import ERes2NetV2Network, Layout

    return saved(ERes2NetV2Network(Layout(base_width=24, scale=4, expansion=4)), folder / "w24s4ep4.ckpt")


def eres2net(folder: Path) -> Path:
    from openkith.encoders.networks.eres2net import ERes2NetNetwork, Layout

    return saved(ERes2NetNetwork(Layout(32, 32, 2, 2)), folder / "eres2net.ckpt")


def resnet34(folder: Path) -> Path:
    from openkith.encoders.networks.resnet import _WeSpeakerNetwork

    return saved(_WeSpeakerNetwork(256, two_layers=False), folder / "resnet34.pt")


def resnet34_ns(folder: Path) -> Path:
    from openkith.encoders.networks.resnet import AttentiveResNet34

    return saved(AttentiveResNet34(256), folder / "resnet34-ns.pt", "speaker_encoder.")


def ecapa(channels: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from openkith.encoders.networks.ecapa import _Network

        network = _Network(channels, 1536, 192, context=True, last_norm=False)
        return saved(network, folder / f"ecapa{channels}.pt")

    return write


def resnetse34v2(folder: Path) -> Path:
    from openkith.encoders.networks.resnetse import _Network

    return saved(_Network(512), folder / "resnetse34v2.model", "__S__.")


def wavlm(folder: Path) -> Path:
    """The size of microsoft/wavlm-base-plus-sv."""
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.WavLMForXVector(transformers.WavLMConfig()).save_pretrained(folder / "wavlm")
    return folder / "wavlm"


def onnx(folder: Path) -> Path:
    """ResNet34, exported."""
    from openkith.encoders.graphs.export import export_onnx

    export_onnx(load_encoder("resnet34", resnet34(folder)), folder / "resnet34.onnx")
    return folder / "resnet34.onnx"


#: A name for the row to the encoder, and what writes weights for it into a folder (None: the published ones).
ROWS: dict[str, tuple[str, Callable[[Path], Path] | None]] = {
    "ge2e": ("ge2e", None),
    "wavlm": ("wavlm", wavlm),
    "eres2netv2": ("eres2netv2", eres2netv2),
    "eres2netv2 w24s4ep4": ("eres2netv2", eres2netv2_wide),
    "eres2net": ("eres2net", eres2net),
    "resnet34": ("resnet34", resnet34),
    "resnet34-ns": ("resnet34-ns", resnet34_ns),
    "ecapa 512": ("ecapa", ecapa(512)),
    "ecapa 1024": ("ecapa", ecapa(1024)),
    "resnetse34v2": ("resnetse34v2", resnetse34v2),
    "onnx (resnet34)": ("onnx", onnx),
}


def resemblyzer(arguments: argparse.Namespace) -> Embed:
    encoder = import_resemblyzer(arguments.install.resolve()).VoiceEncoder(device="cpu", verbose=False)
    return lambda clips: np.stack([encoder.embed_utterance(clip.samples) for clip in clips])


def transformers_wavlm(arguments: argparse.Namespace) -> Embed:
    import transformers

    model = transformers.WavLMForXVector.from_pretrained(arguments.weights).eval()
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)

    def embed(clips: Sequence[Audio]) -> NDArray[np.float32]:
        with torch.inference_mode():
            inputs = [extract(clip.samples, sampling_rate=SAMPLE_RATE, return_tensors="pt") for clip in clips]
            found = torch.cat([model(**one).embeddings for one in inputs])
            return np.asarray(torch.nn.functional.normalize(found, dim=-1).numpy())

    return embed


ORIGINALS: dict[str, Callable[[argparse.Namespace], Embed]] = {
    "ge2e": resemblyzer,
    "wavlm": transformers_wavlm,
}


def make_clips(speech: Path, count: int) -> list[Audio]:
    """Clips of 1 to 15 s, pairs of equal length among them; of noise where there is no speech."""
    rng = np.random.default_rng(0)
    files = sorted(speech.glob("home/**/*.flac"))[::4]
    voice = rng.normal(0.0, 0.05, 600 * SAMPLE_RATE).astype(np.float32)
    if files:
        voice = np.concatenate([trim_silence(load(path)).samples for path in files])
    clips = []
    for seconds in np.repeat(np.linspace(1.0, 15.0, count // 2), 2):
        size = round(seconds * SAMPLE_RATE)
        start = int(rng.integers(0, len(voice) - size))
        clips.append(Audio(voice[start : start + size].copy(), "<part>"))
    return clips


def one_by_one(encoder: Encoder, clips: Sequence[Audio]) -> NDArray[np.float32]:
    return np.concatenate([encoder.embed([clip]) for clip in clips])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own prints about one encoder."""
    encoder = load_encoder(
        arguments.work, arguments.weights, device="cpu", precision=arguments.precision, threads=1
    )
    clips = make_clips(arguments.speech, arguments.clips)
    calls: dict[str, Callable[[], NDArray[np.float32]]] = {
        "alone": lambda: one_by_one(encoder, clips),
        "together": lambda: encoder.embed(clips),
    }
    encoder.embed(clips[:1])
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results = {}
    peak = 0
    for turn in range(arguments.rounds + 1):
        if turn == 1:
            peak = peak_bytes()  # before the original is loaded
            if arguments.work in ORIGINALS and (arguments.work != "ge2e" or arguments.install):
                original = ORIGINALS[arguments.work](arguments)
                original(clips[:1])
                calls["original"] = partial(original, clips)
                seconds["original"] = []
        for name, call in calls.items():
            start = time.process_time()
            results[name] = call()
            if turn:
                seconds[name].append(time.process_time() - start)

    def ratio(above: str) -> float | None:
        if above not in seconds:
            return None
        below = seconds["together" if above == "alone" else "alone"]
        return statistics.median(a / b for a, b in zip(seconds[above], below, strict=True))

    cosine = None
    if "original" in results:
        expected = results["original"] / np.linalg.norm(results["original"], axis=1, keepdims=True)
        cosine = float((results["alone"] * expected).sum(axis=1).min())
    return {
        "real_time": sum(clip.seconds for clip in clips) / statistics.median(seconds["alone"]),
        "peak": peak,
        "batch": ratio("alone"),
        "difference": float(np.abs(results["alone"] - results["together"]).max()),
        "original": ratio("original"),
        "cosine": cosine,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed and memory of every encoder.")
    parser.add_argument("rows", nargs="*", metavar="NAME", help=f"which: {', '.join(ROWS)}; default: all")
    parser.add_argument(
        "--install", type=Path, metavar="DIR", help="install Resemblyzer here, or find it here"
    )
    parser.add_argument(
        "--speech", type=Path, default=SPEECH, metavar="DIR", help="the folder of test speech"
    )
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        threadpool_limits(1)
        torch.set_num_threads(1)
        print(json.dumps(measure(arguments)))
        return 0
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}")
    missing = set(ENCODERS) - {name for name, _ in ROWS.values()} - {"campplus"}  # an ONNX file of its own
    assert not missing, f"encoders without a row: {missing}"
    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.install or Path(temporary) / "resemblyzer").resolve()
        chosen = arguments.rows or list(ROWS)
        if "ge2e" in chosen and not (folder / "resemblyzer").is_dir():
            install(folder)
        print(
            f"{arguments.clips} clips of 1 to 15 s, one thread, {arguments.precision}, {arguments.rounds} rounds"
        )
        columns = ("real time", "peak GB", "batch", "difference", "original", "cosine")
        print(f"{'':20}" + "".join(f"{column:>12}" for column in columns), flush=True)
        for row in chosen:
            name, write = ROWS[row]
            command = [sys.executable, __file__, "--work", name, "--install", str(folder)]
            command += ["--speech", str(arguments.speech), "--precision", arguments.precision]
            command += ["--clips", str(arguments.clips), "--rounds", str(arguments.rounds)]
            torch.manual_seed(0)
            if write is not None:
                command += ["--weights", str(write(Path(temporary)))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{row:20} {(done.stderr.strip().splitlines() or ['no word'])[-1]}", flush=True)
                missed.append(f"{row}: did not run")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            original = "-" if found["original"] is None else f"{found['original']:.2f}"
            cosine = "-" if found["cosine"] is None else f"{found['cosine']:.6f}"
            print(
                f"{row:20}{found['real_time']:11.1f}x{found['peak'] / 1e9:12.2f}{found['batch']:12.2f}"
                f"{found['difference']:12.1e}{original:>12}{cosine:>12}",
                flush=True,
            )
            if found["batch"] < LEAST_BATCH:
                missed.append(f"{row}: one call is slower than one by one")
            if found["difference"] > LARGEST_DIFFERENCE:
                missed.append(f"{row}: one call gives other embeddings than one by one")
    for miss in missed:
        print(f"missed: {miss}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
