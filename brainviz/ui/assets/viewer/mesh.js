// A hemisphere as triangles: decoding, normals, the seams between areas, and which vertex is under a point.

/** Positions (n * 3) in millimetres from 16-bit steps between `low` and `high` of each axis. */
export function decodePositions(steps, low, high) {
  const positions = new Float32Array(steps.length);
  const [sx, sy, sz] = low.map((value, axis) => (high[axis] - value) / 65535);
  const [lx, ly, lz] = low;
  for (let i = 0; i < steps.length; i += 3) {
    positions[i] = lx + steps[i] * sx;
    positions[i + 1] = ly + steps[i + 1] * sy;
    positions[i + 2] = lz + steps[i + 2] * sz;
  }
  return positions;
}

/** Values (n) from 16-bit steps between `low` and `high`; 65535 stands for no value, which becomes NaN. */
export function decodeValues(steps, low, high) {
  const values = new Float32Array(steps.length);
  const scale = (high - low) / 65534;
  for (let i = 0; i < steps.length; i++) values[i] = steps[i] === 65535 ? NaN : low + steps[i] * scale;
  return values;
}

/** Outward unit normals (n * 3), weighted by the area of the triangles around a vertex. */
export function normalsOf(positions, faces) {
  const normals = new Float32Array(positions.length);
  for (let f = 0; f < faces.length; f += 3) {
    const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
    const ux = positions[b] - positions[a], uy = positions[b + 1] - positions[a + 1], uz = positions[b + 2] - positions[a + 2];
    const vx = positions[c] - positions[a], vy = positions[c + 1] - positions[a + 1], vz = positions[c + 2] - positions[a + 2];
    const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    normals[a] += nx, normals[a + 1] += ny, normals[a + 2] += nz;
    normals[b] += nx, normals[b + 1] += ny, normals[b + 2] += nz;
    normals[c] += nx, normals[c + 1] += ny, normals[c + 2] += nz;
  }
  for (let i = 0; i < normals.length; i += 3) {
    const x = normals[i], y = normals[i + 1], z = normals[i + 2];
    const length = Math.sqrt(x * x + y * y + z * z) || 1;
    normals[i] = x / length, normals[i + 1] = y / length, normals[i + 2] = z / length;
  }
  return normals;
}

/** Which vertices (n) belong to a triangle: flat maps have some that do not, and whose places mean nothing. */
export function usedBy(faces, n) {
  const used = new Uint8Array(n);
  for (const vertex of faces) used[vertex] = 1;
  return used;
}

/** Middle and size of a box around the vertices that are used. */
export function boxOf(positions, used) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let v = 0; v < used.length; v++) {
    if (!used[v]) continue;
    for (let k = 0; k < 3; k++) {
      const value = positions[3 * v + k];
      if (value < low[k]) low[k] = value;
      if (value > high[k]) high[k] = value;
    }
  }
  return { middle: low.map((value, k) => (value + high[k]) / 2), size: low.map((value, k) => high[k] - value) };
}

/**
 * Triangles whose corners have different labels (n), as three corners each.
 * Returns the corners' vertices (3 per triangle), and for each corner the labels of all three.
 */
export function seamsOf(faces, labels) {
  const seams = { corners: [], labels: [] };
  for (let f = 0; f < faces.length; f += 3) {
    const a = faces[f], b = faces[f + 1], c = faces[f + 2];
    const la = labels[a], lb = labels[b], lc = labels[c];
    if (la !== lb || lb !== lc) addSeam(seams, a, b, c, la, lb, lc);
  }
  return seams;
}

/**
 * The same for areas, where a vertex can belong to several: `bits` (n * words) has bit k of a vertex set where area k
 * holds it. Returns the seams, labelled 1 inside and 0 outside, of each of the areas `numbers`.
 */
export function bordersOf(faces, bits, words, numbers) {
  const found = numbers.map(() => ({ corners: [], labels: [] }));
  for (let f = 0; f < faces.length; f += 3) {
    const a = faces[f], b = faces[f + 1], c = faces[f + 2];
    for (let word = 0; word < words; word++) {
      const ia = bits[a * words + word], ib = bits[b * words + word], ic = bits[c * words + word];
      const differ = (ia ^ ib) | (ia ^ ic);
      if (differ === 0) continue;
      numbers.forEach((number, place) => {
        const bit = number & 31;
        if (number >> 5 === word && (differ >>> bit) & 1) addSeam(found[place], a, b, c, (ia >>> bit) & 1, (ib >>> bit) & 1, (ic >>> bit) & 1);
      });
    }
  }
  return found;
}

function addSeam({ corners, labels }, a, b, c, la, lb, lc) {
  corners.push(a, b, c);
  for (let corner = 0; corner < 3; corner++) labels.push(la, lb, lc);
}

/** Places (n * 3) in a picture: to the right, up, and nearness, in millimetres from the middle. */
export function projected(positions, middle, frame) {
  const places = new Float32Array(positions.length);
  for (let i = 0; i < positions.length; i += 3) {
    const x = positions[i] - middle[0], y = positions[i + 1] - middle[1], z = positions[i + 2] - middle[2];
    places[i] = frame[0] * x + frame[1] * y + frame[2] * z;
    places[i + 1] = frame[3] * x + frame[4] * y + frame[5] * z;
    places[i + 2] = frame[6] * x + frame[7] * y + frame[8] * z;
  }
  return places;
}

/** The foremost triangle's nearest corner and the depth at a point of the picture; null beside the surface. */
export function vertexAt(places, faces, x, y) {
  let best = null;
  for (let f = 0; f < faces.length; f += 3) {
    const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
    const ax = places[a] - x, bx = places[b] - x, cx = places[c] - x;
    if ((ax > 0 && bx > 0 && cx > 0) || (ax < 0 && bx < 0 && cx < 0)) continue;
    const ay = places[a + 1] - y, by = places[b + 1] - y, cy = places[c + 1] - y;
    if ((ay > 0 && by > 0 && cy > 0) || (ay < 0 && by < 0 && cy < 0)) continue;
    const wa = bx * cy - cx * by, wb = cx * ay - ax * cy, wc = ax * by - bx * ay;
    const total = wa + wb + wc;
    if (total === 0 || wa * total < 0 || wb * total < 0 || wc * total < 0) continue;
    const depth = (wa * places[a + 2] + wb * places[b + 2] + wc * places[c + 2]) / total;
    if (best && depth <= best.depth) continue;
    const weights = [wa / total, wb / total, wc / total];
    best = { vertex: faces[f + weights.indexOf(Math.max(...weights))], depth };
  }
  return best;
}

/** The vertices among `candidates` whose places lie inside a polygon [[x, y], ...]. */
export function verticesInside(places, candidates, polygon) {
  const inside = (x, y) => {
    let odd = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [xi, yi] = polygon[i];
      const [xj, yj] = polygon[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
    }
    return odd;
  };
  return candidates.filter((vertex) => inside(places[3 * vertex], places[3 * vertex + 1]));
}

/** Vertices from the middle of their mean place outwards: the name of an area is written at the first that is seen. */
export function fromTheMiddle(positions, vertices) {
  const mean = [0, 1, 2].map((k) => vertices.reduce((sum, v) => sum + positions[3 * v + k], 0) / vertices.length);
  const away = new Map(vertices.map((v) => [v, [0, 1, 2].reduce((sum, k) => sum + (positions[3 * v + k] - mean[k]) ** 2, 0)]));
  return [...vertices].sort((a, b) => away.get(a) - away.get(b));
}
