/** The microphone: pieces of 16-bit PCM as they come, and their level. */

import { Problem } from "./api.js";

const RAW = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // a voice as it is

/**
 * Opens the microphone.
 *
 * @param {(piece: Int16Array, level: number, seconds: number) => void} take Called some twelve times a second, never after
 *     the microphone was closed; the level is the peak of the piece, 0 to 1.
 * @returns {Promise<{sampleRate: number, close: () => Promise<void>}>}
 */
export async function openMicrophone(take) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Problem(
      0,
      "No microphone",
      "Browsers give the microphone to secure pages only: open this page with https, or on the machine itself as localhost. Files can be dropped all the same.",
    );
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  } catch (error) {
    throw new Problem(
      0,
      "No microphone",
      REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`,
    );
  }
  const context = new AudioContext();
  let closed = false;
  const close = async () => {
    closed = true;
    for (const track of stream.getTracks()) track.stop();
    if (context.state !== "closed") await context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("capture.js", import.meta.url)).catch(() => {
      throw new Problem(
        0,
        "No microphone",
        "A part of this page could not be loaded. Is kith serve running? Load the page anew.",
      );
    });
    const node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    node.port.onmessage = ({ data }) =>
      closed || take(data.piece, data.level, data.piece.length / context.sampleRate);
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
  } catch (error) {
    close();
    throw error;
  }
  return { sampleRate: context.sampleRate, close };
}

const REASONS = {
  NotAllowedError:
    "The browser was not allowed to use the microphone. Allow it beside the address, and try again.",
  NotFoundError: "No microphone was found. Plug one in, or drop files instead.",
  NotReadableError: "Another program holds the microphone. Close it there, and try again.",
};

/** A WAV file of 16-bit mono pieces. */
export function wav(pieces, sampleRate) {
  const bytes = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, letters) =>
    [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // one channel
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 2 * sampleRate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...pieces], { type: "audio/wav" }); // typed arrays are little-endian on all that runs browsers
}
