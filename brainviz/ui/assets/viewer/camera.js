// Where a hemisphere is looked at from: directions, fitting to a rectangle, and the mirror image for the other side.
//
// Coordinates are millimetres, x to the right of the head, y to the front, z up. A camera is orthographic:
// { az, el, zoom, px, py } with the angles of the eye in degrees, as the left hemisphere is seen, and a shift in
// millimetres. Turned by a frame, x points to the right of the picture, y up, and z to the eye.

export const VIEWS = {
  lateral: { az: 180, el: 0 },
  medial: { az: 0, el: 0 },
  ventral: { az: 90, el: -90 },
  posterior: { az: -90, el: 0 },
};

/** Neither nearer nor shifted. */
export const UNMOVED = { zoom: 1, px: 0, py: 0 };

const radians = (degrees) => (degrees * Math.PI) / 180;

/** A camera that looks from a named direction. */
export function cameraOf(view) {
  return { ...VIEWS[view], ...UNMOVED };
}

/** The name of the view that a camera shows unmoved, or "free". */
export function viewOf(camera) {
  const same = (view) => Object.entries(cameraOf(view)).every(([name, value]) => camera[name] === value);
  return Object.keys(VIEWS).find(same) ?? "free";
}

/** Whether a camera is neither nearer nor shifted. */
export function isUnmoved(camera) {
  return Object.entries(UNMOVED).every(([name, value]) => camera[name] === value);
}

/** The camera of the other hemisphere that shows the same side of it: reflected at the midline. */
export function mirrored(camera) {
  return { ...camera, az: 180 - camera.az, px: -camera.px };
}

/** Rows right, up, eye: multiplied with a position they give its place in the picture, and its nearness. */
export function frameOf(camera) {
  const [az, el] = [radians(camera.az), radians(camera.el)];
  const eye = [Math.cos(el) * Math.cos(az), Math.cos(el) * Math.sin(az), Math.sin(el)];
  const right = [-Math.sin(az), Math.cos(az), 0];
  const up = [
    eye[1] * right[2] - eye[2] * right[1],
    eye[2] * right[0] - eye[0] * right[2],
    eye[0] * right[1] - eye[1] * right[0],
  ];
  return [...right, ...up, ...eye];
}

/** A flat map is always seen from above. */
export const FLAT_FRAME = [1, 0, 0, 0, 1, 0, 0, 0, 1];

/** Millimetres from the middle of a rectangle to its right and upper edge, such that a box of this size just fits. */
export function spanOf(frame, size, width, height, zoom) {
  const extent = (row) => frame.slice(3 * row, 3 * row + 3).reduce((sum, f, k) => sum + Math.abs(f) * size[k], 0);
  const perPixel = (1.06 * Math.max(extent(0) / width, extent(1) / height)) / zoom;
  return [(perPixel * width) / 2, (perPixel * height) / 2];
}

/** Whether the left hemisphere belongs to the right of the picture: seen from the front or from below. */
export function seenFromFront(camera) {
  const frame = frameOf(camera);
  return frame[0] < -0.7;
}

/** The camera after the pointer has moved by so many pixels over a hemisphere; `side` is -1 where it is mirrored. */
export function turned(camera, dx, dy, side) {
  const el = Math.min(90, Math.max(-90, camera.el + 0.4 * dy));
  const az = camera.az - 0.4 * dx * side;
  return { ...camera, el, az: ((((az + 180) % 360) + 360) % 360) - 180 };
}

/** The camera after scrolling: `steps` above 0 comes nearer, and as many below 0 lead back to exactly the same. */
export function zoomed(camera, steps) {
  const power = Math.log(camera.zoom) / Math.log(1.15) + steps;
  const whole = Math.round(power);
  const zoom = 1.15 ** (Math.abs(power - whole) < 1e-6 ? whole : power);
  return { ...camera, zoom: Math.min(20, Math.max(0.5, zoom)) };
}

/** A camera as text for an address, a name where it has one, and back; null for what is none. */
export function cameraText(camera) {
  const view = viewOf(camera);
  if (view !== "free") return view;
  return [camera.az, camera.el, camera.zoom, camera.px, camera.py].map((value) => +value.toFixed(2)).join(",");
}

export function cameraFrom(text) {
  if (text in VIEWS) return cameraOf(text);
  const [az, el, zoom, px, py] = String(text ?? "").split(",").map(Number);
  if (![az, el, zoom, px, py].every(Number.isFinite) || zoom <= 0) return null;
  return { az, el: Math.min(90, Math.max(-90, el)), zoom: Math.min(20, Math.max(0.5, zoom)), px, py };
}
