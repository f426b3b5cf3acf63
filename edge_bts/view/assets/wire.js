// The message of edge_bts/view/wire.py, taken apart.

const MAGIC = 0x45425631; // "EBV1"

/** Returns what a message says, with `gray` (a byte a pixel) and `bits` (a bit a pixel). */
export function parse(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== MAGIC) throw new Error("not a message of edge-bts view");
  const size = view.getUint32(4, true);
  const said = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  const pixels = said.width * said.height;
  const start = 8 + size;
  if (buffer.byteLength !== start + pixels + Math.ceil(pixels / 8)) {
    throw new Error("a message of another length than it says");
  }
  return {
    ...said,
    bytes: buffer.byteLength,
    gray: new Uint8Array(buffer, start, pixels),
    bits: new Uint8Array(buffer, start + pixels),
  };
}
