/** In the audio thread: gathers the microphone's blocks of 128 samples into pieces of 16-bit PCM. */

const PIECES = 12.5; // a second

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = this.empty();
    this.filled = 0;
    this.level = 0;
  }

  empty() {
    return new Int16Array(Math.round(sampleRate / PIECES));
  }

  process([[samples]]) {
    if (!samples) return true;
    for (const x of samples) {
      this.level = Math.max(this.level, Math.abs(x));
      this.piece[this.filled] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
      this.filled += 1;
      if (this.filled === this.piece.length) this.send();
    }
    return true;
  }

  send() {
    this.port.postMessage({ piece: this.piece, level: this.level }, [this.piece.buffer]);
    this.piece = this.empty();
    this.filled = 0;
    this.level = 0;
  }
}

registerProcessor("capture", Capture);
