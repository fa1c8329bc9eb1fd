// The brain viewer: one or two maps on the cortex, seen from anywhere, with the vertex under the pointer.
//
// The server sends a plan: which mesh, which values, where to fetch them, and how to look at them first. From then on the
// look (surface, camera, threshold, limits, colours, borders) is the visitor's; it is told to the server for the address
// and for exports, and the server does nothing for it. Picked vertices are told at once.

import { cameraFrom, cameraOf, cameraText, FLAT_FRAME, frameOf, mirrored, seenFromFront, spanOf, turned, UNMOVED, VIEWS, viewOf, zoomed } from "./camera.js";
import { element, settings, toolbar } from "./controls.js";
import { bordersOf, boxOf, decodePositions, decodeValues, fromTheMiddle, normalsOf, projected, seamsOf, usedBy, vertexAt, verticesInside } from "./mesh.js";
import { NONE, Painter } from "./painter.js";
import { load } from "./store.js";

const HEMISPHERES = { lh: "Left hemisphere", rh: "Right hemisphere" };
const CELL_HEIGHT = { one: 430, two: 330 };
const NARROW = 1000; // pixels: two maps stand side by side only above this
const TELL_AFTER = 350; // milliseconds without another change
const REST = 180; // milliseconds without another picture, after which edges are smoothed
const CLICK = 4; // pixels that a click may move
const LINE_WIDTH = 2;
const NAME = { letter: 7, height: 12 }; // pixels that an area's name takes
const HIDDEN = 2; // millimetres behind the surface, where a name is left out
const SVG = "http://www.w3.org/2000/svg";

const OVERTAKEN = new Error("A newer plan has come.");
const PATIENCE = 10_000; // milliseconds within which a graphics card may give up a picture once

const viewers = new WeakMap();

/** Draw a plan into an element; called again whenever the server sends another. Returns what ends it. */
export async function show({ data, parentElement, setStateValue }) {
  const place = parentElement.querySelector(".viewer");
  if (!viewers.has(place)) viewers.set(place, new Viewer(place, setStateValue));
  const viewer = viewers.get(place);
  viewer.tellServer = setStateValue;
  try {
    await viewer.update(data);
  } catch (error) {
    // Somebody who has gone on to another view or map needs no picture; the server keeps no files for it either.
    if (!place.isConnected || error === OVERTAKEN) return () => {};
    place.replaceChildren(element("div", { class: "problem", role: "alert" }, `The cortex cannot be drawn: ${error.message}`));
    viewers.delete(place);
    throw error;
  }
  return () => {
    const last = viewers.get(place) ?? viewer;
    viewers.delete(place);
    clearTimeout(last.resting);
    last.painter.stop();
  };
}

function svg(tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/** What was used last, so many at most; what has to go is disposed of. */
class Kept {
  constructor(most, dispose) {
    this.most = most;
    this.dispose = dispose;
    this.items = new Map();
  }

  has(key) {
    return this.items.has(key);
  }

  get(key) {
    const item = this.items.get(key);
    if (item === undefined) return undefined;
    this.items.delete(key);
    this.items.set(key, item); // the last one used
    return item;
  }

  set(key, item) {
    this.items.set(key, item);
    if (this.items.size <= this.most) return;
    const [oldest, gone] = this.items.entries().next().value;
    this.items.delete(oldest);
    this.dispose(gone);
  }
}

class Viewer {
  constructor(place, tellServer) {
    performance.mark("brainviz mounted");
    this.tellServer = tellServer;
    this.place = place;
    place.viewer = this;
    this.canvas = element("canvas", { role: "img", tabindex: "0" });
    this.overlay = svg("svg", { "aria-hidden": "true" });
    this.tip = element("div", { class: "tip", hidden: true });
    this.stage = element("div", { class: "stage" }, this.canvas, this.overlay, this.tip);
    this.above = element("div");
    this.below = element("div");
    place.replaceChildren(this.above, this.stage, this.below);
    this.painter = new Painter(this.canvas);
    const { painter } = this;
    this.surfaces = new Kept(20, ({ item }) => painter.remove(item)); // mesh, surface and hemisphere -> { positions, ..., item }
    this.columns = new Kept(40, (columns) => Object.values(columns).forEach(({ buffer }) => painter.gl.deleteBuffer(buffer))); // file -> hemisphere -> { numbers, buffer }
    this.areas = new Kept(8, () => {}); // file -> hemisphere -> bits
    this.seams = new Kept(60, (item) => painter.remove(item)); // what they depend on -> item
    this.middles = new Map(); // surface and area -> its vertices, from the middle outwards
    this.look = null;
    this.pictures = 0;
    this.active = 0; // the map that keys turn
    this.listen();
  }

  // --- what the server sends ------------------------------------------------------------------------------------------

  async update(plan) {
    const text = JSON.stringify({ ...plan, look: null }); // how to look counts at first, and where it is restored
    if (text === this.planText) return;
    this.planText = text;
    for (const [name, text] of Object.entries(plan.scale.palettes)) {
      plan.scale.palettes[name] = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    }
    await this.take(plan);
  }

  async take(plan) {
    const before = this.plan;
    const restored = before && before.restored !== plan.restored; // the address decides again
    if (restored) this.look = null;
    const mine = JSON.stringify(this.look);
    this.look = this.lookFor(plan, before);
    const changed = before && !restored && JSON.stringify(this.look) !== mine;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    clearTimeout(this.telling); // until the plan that it is about is there
    try {
      await this.fetchAll(plan);
    } finally {
      if (turn !== this.turn) throw OVERTAKEN;
    }
    this.plan = plan;
    this.picked = plan.picked;
    this.canvas.setAttribute("aria-label", plan.summary);
    this.drawControls();
    this.draw();
    if (changed || this.untold) this.tellLater();
    performance.mark("brainviz drawn");
  }

  /** The look to begin with, or the present one as far as the new plan allows it. */
  lookFor(plan, before) {
    const { scale } = plan;
    const look = this.look ?? {
      ...plan.look,
      cameras: plan.maps.map((_, number) => cameraFrom(plan.look.cameras[number] ?? plan.look.cameras[0]) ?? cameraOf("medial")),
      tool: "move",
      bordersOpen: false,
    };
    if (!Object.hasOwn(plan.mesh.surfaces, look.surface)) look.surface = Object.keys(plan.mesh.surfaces)[0];
    while (look.cameras.length < plan.maps.length) look.cameras.push({ ...look.cameras[0] });
    const sameQuantity = before && before.scale.label === scale.label && before.scale.kind === scale.kind;
    if (before && !sameQuantity) look.limits = null;
    look.limits ??= [scale.low, scale.high];
    if (before && sameQuantity && String(look.limits) === String([before.scale.low, before.scale.high])) look.limits = [scale.low, scale.high];
    if (scale.kind === "diverging") {
      const top = Math.max(...look.limits.map(Math.abs)); // 0 stays in the middle, whatever a link says
      look.limits = [-top, top];
    }
    if (!Object.hasOwn(scale.palettes, look.colours)) look.colours = Object.keys(scale.palettes)[0];
    if (before && String(look.borders) === String(before.borders)) look.borders = plan.borders; // they follow the ROIs
    look.borders = look.borders.filter((name) => plan.rois?.names.includes(name));
    return look;
  }

  async fetchAll(plan) {
    const files = [...plan.maps, plan.ceiling, plan.tested].filter(Boolean);
    await Promise.all([
      this.fetchSurface(plan),
      plan.rois && this.fetchAreas(plan.rois),
      ...files.map((file) => this.fetchColumns(file)),
    ]);
  }

  surfaceKey(hemi, plan = this.plan, surface = this.look.surface) {
    return `${plan.mesh.name} ${surface} ${hemi}`;
  }

  async fetchSurface(plan, surface = this.look.surface) {
    const missing = () => Object.keys(HEMISPHERES).some((hemi) => !this.surfaces.has(this.surfaceKey(hemi, plan, surface)));
    if (!missing()) return;
    const file = plan.mesh.surfaces[surface];
    const [shape, positions] = await Promise.all([load(file.shape, true), load(file.positions, true)]);
    if (!missing()) return;
    const [Faces, width] = file.wide ? [Uint32Array, 4] : [Uint16Array, 2];
    let face = 0, place = 0;
    const parts = Object.values(file.parts);
    // After all faces, which are there once where both hemispheres have the same.
    let sulcus = width * 3 * (file.twins ? parts[0].faces : parts.reduce((sum, part) => sum + part.faces, 0));
    for (const [hemi, part] of Object.entries(file.parts)) {
      const faces = new Faces(shape, file.twins ? 0 : face, 3 * part.faces);
      const sulci = new Uint8Array(shape, sulcus, part.vertices);
      const steps = new Uint16Array(positions, place, 3 * part.vertices);
      face += faces.byteLength;
      sulcus += sulci.byteLength;
      place += steps.byteLength;
      this.addSurface(this.surfaceKey(hemi, plan, surface), decodePositions(steps, part.low, part.high), faces, sulci);
    }
  }

  addSurface(key, positions, faces, sulci) {
    const normals = normalsOf(positions, faces);
    const used = usedBy(faces, positions.length / 3);
    const box = boxOf(positions, used);
    const item = this.painter.addSurface({ positions, normals, faces, sulci, box });
    this.surfaces.set(key, { positions, normals, faces, used, box, item });
  }

  async fetchColumns({ file, low, high, hemispheres }) {
    const key = `${file} ${low} ${high}`;
    if (this.columns.has(key)) return;
    const numbers = decodeValues(new Uint16Array(await load(file)), low, high);
    if (this.columns.has(key)) return;
    const n = numbers.length / hemispheres.length;
    const columns = {};
    hemispheres.forEach((hemi, place) => {
      const own = numbers.subarray(place * n, (place + 1) * n);
      columns[hemi] = { numbers: own, buffer: this.painter.buffer(own.map((value) => (Number.isNaN(value) ? NONE : value))) };
    });
    this.columns.set(key, columns);
  }

  /** The values of a hemisphere in a file of the plan, as { numbers, buffer }; undefined where there are none. */
  columnOf(file, hemi) {
    return file ? this.columns.get(`${file.file} ${file.low} ${file.high}`)?.[hemi] : undefined;
  }

  async fetchAreas({ file, hemispheres }) {
    if (this.areas.has(file)) return;
    const bits = new Uint32Array(await load(file, true));
    const n = bits.length / hemispheres.length;
    this.areas.set(file, Object.fromEntries(hemispheres.map((hemi, place) => [hemi, bits.subarray(place * n, (place + 1) * n)])));
  }

  bitsOf(hemi) {
    return this.areas.get(this.plan.rois.file)[hemi];
  }

  // --- the look -------------------------------------------------------------------------------------------------------

  async change(part) {
    const { look } = this;
    if (part.surface) {
      try {
        await this.fetchSurface(this.plan, part.surface);
      } catch {
        return this.drawControls(); // the picture stays as it was
      }
    }
    if (part.view) look.cameras = look.cameras.map(() => cameraOf(part.view));
    if (part.centred) look.cameras = look.cameras.map((camera) => ({ ...camera, ...UNMOVED }));
    delete part.view;
    delete part.centred;
    if (part.linked) look.cameras = look.cameras.map(() => ({ ...look.cameras[0] }));
    Object.assign(look, part);
    if (look.surface !== "flat") look.tool = "move";
    if (part.surface === "flat") look.cameras = look.cameras.map((camera) => ({ ...camera, ...UNMOVED }));
    this.drawControls();
    this.draw();
    this.tellLater();
  }

  tellLater() {
    clearTimeout(this.telling);
    this.untold = true;
    this.telling = setTimeout(() => {
      this.untold = false;
      const { look, plan } = this;
      const { tool, bordersOpen, cameras, limits, ...told } = look;
      const own = String(limits) !== String([plan.scale.low, plan.scale.high]);
      const usual = look.colours === Object.keys(plan.scale.palettes)[0];
      const [first, second] = cameras.map(cameraText);
      this.tellServer("look", {
        ...told,
        limits: own ? limits : null,
        colours: usual ? "" : look.colours,
        cameras: second && !look.linked ? [first, second] : [first],
      });
    }, TELL_AFTER);
  }

  drawControls() {
    const change = (part) => this.change(part);
    const focused = this.place.contains(document.activeElement?.shadowRoot?.activeElement ?? document.activeElement);
    const label = focused ? this.place.getRootNode().activeElement?.getAttribute("aria-label") ?? this.place.getRootNode().activeElement?.textContent : null;
    this.above.replaceChildren(toolbar(this.plan, this.look, Object.keys(VIEWS), change));
    // A slider that is being dragged stays where it is.
    if (!this.below.querySelector("input[type=range]:active")) this.below.replaceChildren(settings(this.plan, this.look, change));
    this.stage.classList.toggle("lasso", this.look.tool === "lasso");
    if (label) {
      const again = [...this.place.querySelectorAll("button, input, select, summary")].find((one) => (one.getAttribute("aria-label") ?? one.textContent) === label);
      again?.focus({ preventScroll: true });
    }
  }

  // --- drawing --------------------------------------------------------------------------------------------------------

  /** Where every map's hemispheres are drawn, in CSS pixels from the upper left. */
  cells() {
    const { look, plan } = this;
    const width = this.stage.clientWidth;
    const maps = plan.maps.length;
    const beside = maps === 2 && (width >= NARROW || look.side !== "both");
    const height = maps === 2 && !beside ? CELL_HEIGHT.two : CELL_HEIGHT.one;
    const cells = [];
    plan.maps.forEach((map, number) => {
      const camera = look.cameras[look.linked ? 0 : number];
      const order = look.side !== "both" ? [look.side] : look.surface !== "flat" && seenFromFront(camera) ? ["rh", "lh"] : ["lh", "rh"];
      const [left, mapWidth] = beside ? [(number * width) / 2, width / 2] : [0, width];
      const top = beside ? 0 : number * height;
      order.forEach((hemi, place) => {
        const cellWidth = mapWidth / order.length;
        cells.push({ map: number, hemi, x: left + place * cellWidth, y: top, width: cellWidth, height });
      });
    });
    return { cells, width, height: beside ? height : height * maps };
  }

  /** Pixels above a hemisphere for its name, and for the map's where there are two. */
  get head() {
    return this.plan.maps.length > 1 ? 46 : 30;
  }

  sight(cell) {
    const { look } = this;
    const { box } = this.surfaces.get(this.surfaceKey(cell.hemi));
    const flat = look.surface === "flat";
    const own = look.cameras[look.linked ? 0 : cell.map];
    const camera = cell.hemi === "rh" && (look.mirrored || flat) ? mirrored(own) : own;
    const frame = flat ? FLAT_FRAME : frameOf(camera);
    return { camera, frame, span: spanOf(frame, box.size, cell.width, cell.height - this.head, camera.zoom), shift: [camera.px, camera.py] };
  }

  draw() {
    const { plan, painter } = this;
    if (!plan) return;
    const { cells, width, height } = this.cells();
    if (!width) return;
    this.stage.style.height = `${height}px`;
    delete this.place.dataset.rest;
    this.paint(cells, width, height);
    this.drawOverlay(cells);
    this.pictures += 1;
    this.place.dataset.pictures = this.pictures;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      painter.smooth(() => this.paint(cells, width, height));
      this.place.dataset.rest = ""; // what is shown stays
      this.drawOverlay(cells);
    }, REST);
  }

  paint(cells, width, height) {
    const { plan, look, painter } = this;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    painter.clear(Math.round(width * density), Math.round(height * density));
    painter.setColours(plan.scale.palettes[plan.scale.kind === "categorical" ? "categories" : look.colours]);
    const settings = {
      low: look.limits[0],
      high: look.limits[1],
      threshold: look.threshold,
      leastCeiling: plan.ceiling && look.floor > 0 ? look.floor : NONE,
      onlyTested: plan.tested ? look.tested : false,
      categories: plan.scale.kind === "categorical" ? plan.scale.names.length : 0,
    };
    for (const cell of cells) {
      const surface = this.surfaces.get(this.surfaceKey(cell.hemi));
      const sight = this.sight(cell);
      const below = height - cell.y - cell.height;
      const rectangle = [cell.x, below, cell.width, cell.height - this.head].map((value) => Math.round(value * density));
      const column = (file) => this.columnOf(file, cell.hemi)?.buffer ?? null;
      const columns = { value: column(plan.maps[cell.map]), ceiling: column(plan.ceiling), tested: column(plan.tested) };
      painter.draw(surface.item, rectangle, sight, settings, columns, this.seamsOf(cell, settings.categories), LINE_WIDTH * density);
    }
  }

  /** The triangles between areas that a cell needs, made once for each surface and set of areas. */
  seamsOf(cell, categories) {
    const { plan, look } = this;
    const key = this.surfaceKey(cell.hemi);
    const surface = this.surfaces.get(key);
    const made = (name, make) => {
      if (!this.seams.has(name)) this.seams.set(name, make());
      return this.seams.get(name);
    };
    const place = (corners) => {
      const places = new Float32Array(3 * corners.length);
      corners.forEach((v, i) => places.set(surface.positions.subarray(3 * v, 3 * v + 3), 3 * i));
      return places;
    };
    const seams = {};
    if (categories) {
      const map = plan.maps[cell.map];
      const column = this.columnOf(map, cell.hemi);
      seams.fill = column && made(`${key} ${map.file}`, () => {
        const { corners, labels } = seamsOf(surface.faces, column.numbers.map((value) => (Number.isNaN(value) ? -1 : Math.round(value))));
        return this.painter.addSeams({ positions: place(corners), labels: Float32Array.from(labels) });
      });
    }
    if (plan.rois && look.borders.length) {
      const { rois } = plan;
      seams.borders = made(`${key} ${rois.file} ${look.borders}`, () => {
        const numbers = look.borders.map((name) => rois.names.indexOf(name));
        const parts = bordersOf(surface.faces, this.bitsOf(cell.hemi), rois.words, numbers);
        return this.painter.addSeams({
          positions: place(parts.flatMap(({ corners }) => corners)),
          labels: Float32Array.from(parts.flatMap(({ labels }) => labels)),
          tints: Uint8Array.from(parts.flatMap(({ corners }, part) => corners.flatMap(() => rois.tints[numbers[part]]))),
        });
      });
    }
    return seams;
  }

  /** A function that tells whether (1 or 0) a vertex belongs to an area. */
  memberOf(hemi, name) {
    const { rois } = this.plan;
    const bits = this.bitsOf(hemi);
    const number = rois.names.indexOf(name);
    const [word, bit] = [number >> 5, number & 31];
    return (vertex) => (bits[vertex * rois.words + word] >>> bit) & 1;
  }

  areasOf(hemi, vertex) {
    if (!this.plan.rois) return [];
    return this.plan.rois.names.filter((name) => this.memberOf(hemi, name)(vertex));
  }

  /** CSS pixels of a place in a cell, given in millimetres from the middle of the hemisphere. */
  pixel(cell, { span, shift }, x, y) {
    const height = cell.height - this.head;
    return [cell.x + (((x + shift[0]) / span[0] + 1) / 2) * cell.width, cell.y + this.head + ((1 - (y + shift[1]) / span[1]) / 2) * height];
  }

  /** Names, borders' names and marks above the picture; names behind folds are found out only at rest. */
  drawOverlay(cells) {
    const { plan, look } = this;
    const atRest = "rest" in this.place.dataset;
    const parts = [];
    const written = []; // rectangles of areas' names
    for (const cell of cells) {
      const sight = this.sight(cell);
      const surface = this.surfaces.get(this.surfaceKey(cell.hemi));
      const empty = plan.maps[cell.map].hemispheres.includes(cell.hemi) ? "" : " (no data)";
      parts.push(svg("text", { x: cell.x + cell.width / 2, y: cell.y + this.head - 8, "text-anchor": "middle", class: "side" }, HEMISPHERES[cell.hemi] + empty));
      const facing = (v) => surface.normals[3 * v] * sight.frame[6] + surface.normals[3 * v + 1] * sight.frame[7] + surface.normals[3 * v + 2] * sight.frame[8];
      const at = (v) => {
        const [x, y] = projected(surface.positions.subarray(3 * v, 3 * v + 3), surface.box.middle, sight.frame);
        return this.pixel(cell, sight, x, y);
      };
      if (plan.rois && look.named) {
        for (const name of look.borders) {
          const middle = this.fromTheMiddleOf(cell.hemi, name).find((vertex) => facing(vertex) > 0.2);
          if (middle === undefined) continue;
          const [x, y] = at(middle);
          const half = NAME.letter * name.length / 2;
          const overlaps = written.some((other) => Math.abs(other.x - x) < half + other.half && Math.abs(other.y - y) < NAME.height);
          if (overlaps || x < cell.x || x > cell.x + cell.width || y < cell.y + 20 || y > cell.y + cell.height) continue;
          if (atRest && !this.isForemost(cell, middle)) continue;
          written.push({ x, y, half });
          parts.push(svg("text", { x, y: y + 4, "text-anchor": "middle", class: "area" }, name));
        }
      }
      if (this.picked?.hemi === cell.hemi) {
        for (const vertex of this.picked.vertices) {
          if (!surface.used[vertex] || facing(vertex) < 0) continue; // not on this surface, or turned away
          const [x, y] = at(vertex);
          const single = this.picked.vertices.length === 1;
          parts.push(svg("circle", { cx: x, cy: y, r: single ? 6 : 1.6, fill: single ? "none" : "#111", stroke: single ? "#111" : "none", "stroke-width": 2, class: "picked", "data-vertex": vertex }));
        }
      }
    }
    if (plan.maps.length > 1) {
      plan.maps.forEach((map, number) => {
        const mine = cells.filter((cell) => cell.map === number);
        const middle = (mine[0].x + mine.at(-1).x + mine.at(-1).width) / 2;
        parts.push(svg("text", { x: middle, y: mine[0].y + 20, "text-anchor": "middle", class: "map" }, map.title));
      });
    }
    if (this.polygon) parts.push(svg("polygon", { points: this.polygon.points.join(" "), fill: "rgb(11 110 143 / 15%)", stroke: "#0b6e8f", "stroke-width": 1.5 }));
    this.overlay.replaceChildren(...parts);
  }

  /** Whether nothing of the surface lies well before a vertex. */
  isForemost(cell, vertex) {
    const { surface, places } = this.placesIn(cell);
    const [x, y, z] = places.subarray(3 * vertex, 3 * vertex + 3);
    const hit = vertexAt(places, surface.faces, x, y);
    return !hit || hit.depth - z < HIDDEN;
  }

  fromTheMiddleOf(hemi, name) {
    const key = `${this.surfaceKey(hemi)} ${this.plan.rois.file} ${name}`;
    if (!this.middles.has(key)) {
      const surface = this.surfaces.get(this.surfaceKey(hemi));
      const member = this.memberOf(hemi, name);
      const vertices = [];
      for (let v = 0; v < surface.used.length; v++) if (surface.used[v] && member(v)) vertices.push(v);
      this.middles.set(key, fromTheMiddle(surface.positions, vertices));
    }
    return this.middles.get(key);
  }

  // --- pointer and keys -----------------------------------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    let start = null;
    canvas.addEventListener("pointerdown", (event) => {
      const cell = this.cellAt(event);
      if (!cell) return;
      canvas.setPointerCapture(event.pointerId);
      this.active = cell.map;
      start = { x: event.offsetX, y: event.offsetY, cell, moved: 0 };
      if (this.look.tool === "lasso") this.polygon = { cell, points: [[event.offsetX, event.offsetY]] };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!start) return this.hover(event);
      const [dx, dy] = [event.offsetX - start.x, event.offsetY - start.y];
      start.moved += Math.hypot(dx, dy);
      [start.x, start.y] = [event.offsetX, event.offsetY];
      if (start.moved <= CLICK) return;
      this.tip.hidden = true;
      if (this.polygon) {
        this.polygon.points.push([start.x, start.y]);
        this.drawOverlay(this.cells().cells);
      } else this.drag(start.cell, dx, dy, event.shiftKey || this.look.surface === "flat");
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start && start.moved <= CLICK) this.pickAt(event);
      else if (start && this.polygon) this.pickInside();
      else if (start) this.finishDrag();
      start = null;
      this.polygon = null;
      this.drawOverlay(this.cells().cells);
    });
    canvas.addEventListener("pointercancel", () => (start = this.polygon = null));
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const cell = this.cellAt(event);
      if (cell) this.move(cell.map, (camera) => zoomed(camera, -Math.sign(event.deltaY)));
      this.finishDrag();
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      if (viewers.get(this.place) !== this) return; // it was ended
      this.beginAnew();
    });
    let width = 0;
    new ResizeObserver(() => {
      if (this.stage.clientWidth === width) return; // the height follows from what is drawn
      width = this.stage.clientWidth;
      this.draw();
    }).observe(this.stage);
  }

  /** Draw everything again on another canvas: the graphics card has given up this one. */
  beginAnew() {
    const [recently, now] = [this.begun, Date.now()];
    if (recently && now - recently < PATIENCE) {
      this.place.replaceChildren(element("div", { class: "problem", role: "alert" }, "The graphics card has given up this picture. Reload the page."));
      return;
    }
    const { plan, look } = this;
    const viewer = new Viewer(this.place, this.tellServer);
    viewers.set(this.place, viewer);
    viewer.begun = now;
    viewer.look = look;
    viewer.planText = this.planText;
    if (plan) viewer.take(plan);
  }

  move(map, how) {
    const { look } = this;
    look.cameras = look.cameras.map((camera, number) => (look.linked || number === map ? how(camera) : camera));
    requestAnimationFrame(() => this.draw());
  }

  drag(cell, dx, dy, pan) {
    const side = cell.hemi === "rh" && (this.look.mirrored || this.look.surface === "flat") ? -1 : 1;
    const { span } = this.sight(cell);
    if (!pan) return this.move(cell.map, (camera) => turned(camera, dx, dy, side));
    const [mx, my] = [(2 * span[0] * dx) / cell.width, (-2 * span[1] * dy) / (cell.height - this.head)];
    this.move(cell.map, (camera) => ({ ...camera, px: camera.px + side * mx, py: camera.py + my }));
  }

  finishDrag() {
    this.drawControls();
    this.tellLater();
  }

  key(event) {
    const turns = { ArrowLeft: [20, 0], ArrowRight: [-20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] };
    if (event.key in turns) {
      const [dx, dy] = turns[event.key];
      const cell = this.cells().cells.find(({ map }) => map === this.active) ?? this.cells().cells[0];
      this.drag(cell, dx, dy, event.shiftKey || this.look.surface === "flat");
    } else if (event.key === "+" || event.key === "=") this.move(this.active, (camera) => zoomed(camera, 1));
    else if (event.key === "-") this.move(this.active, (camera) => zoomed(camera, -1));
    else return;
    event.preventDefault();
    this.finishDrag();
  }

  cellAt({ offsetX, offsetY }) {
    return this.cells().cells.find((cell) => offsetX >= cell.x && offsetX < cell.x + cell.width && offsetY >= cell.y && offsetY < cell.y + cell.height);
  }

  placesIn(cell) {
    const surface = this.surfaces.get(this.surfaceKey(cell.hemi));
    const sight = this.sight(cell);
    const key = `${this.surfaceKey(cell.hemi)} ${sight.frame}`;
    if (this.lastPlaces?.key !== key) this.lastPlaces = { key, places: projected(surface.positions, surface.box.middle, sight.frame) };
    return { surface, sight, places: this.lastPlaces.places };
  }

  vertexUnder(event) {
    const cell = this.cellAt(event);
    if (!cell) return null;
    const { surface, sight, places } = this.placesIn(cell);
    const x = (2 * (event.offsetX - cell.x)) / cell.width - 1;
    const y = 1 - (2 * (event.offsetY - cell.y - this.head)) / (cell.height - this.head);
    const hit = vertexAt(places, surface.faces, x * sight.span[0] - sight.shift[0], y * sight.span[1] - sight.shift[1]);
    return hit && { cell, vertex: hit.vertex };
  }

  hover(event) {
    const { offsetX, offsetY } = event;
    cancelAnimationFrame(this.hovering);
    this.hovering = requestAnimationFrame(() => {
      const under = this.plan && this.vertexUnder({ offsetX, offsetY });
      this.tip.hidden = !under;
      if (!under) return;
      this.tip.textContent = this.wordsOf(under.cell, under.vertex);
      const left = offsetX > this.stage.clientWidth / 2;
      this.tip.style.left = left ? "auto" : `${offsetX + 14}px`;
      this.tip.style.right = left ? `${this.stage.clientWidth - offsetX + 14}px` : "auto";
      this.tip.style.top = `${Math.max(4, offsetY - 34)}px`;
    });
  }

  wordsOf(cell, vertex) {
    const { plan } = this;
    const number = (file) => this.columnOf(file, cell.hemi)?.numbers[vertex] ?? NaN;
    const value = number(plan.maps[cell.map]);
    const words = [`${cell.hemi} vertex ${vertex}`];
    const areas = this.areasOf(cell.hemi, vertex);
    if (areas.length) words.push(areas.join(", "));
    if (plan.scale.kind !== "categorical") words.push(Number.isNaN(value) ? "no value" : `${plan.scale.label} ${value.toFixed(3)}`);
    else if (!Number.isNaN(value) && !areas.length) words.push(plan.scale.names[Math.round(value)]);
    const ceiling = number(plan.ceiling);
    if (!Number.isNaN(ceiling)) words.push(`noise ceiling ${ceiling.toFixed(2)}`);
    return words.join(" · ");
  }

  pickAt(event) {
    const under = this.vertexUnder(event);
    if (under) this.tell(under.cell.hemi, [under.vertex]);
  }

  pickInside() {
    const { cell, points } = this.polygon;
    const { surface, sight, places } = this.placesIn(cell);
    const polygon = points.map(([px, py]) => [
      ((2 * (px - cell.x)) / cell.width - 1) * sight.span[0] - sight.shift[0],
      (1 - (2 * (py - cell.y - this.head)) / (cell.height - this.head)) * sight.span[1] - sight.shift[1],
    ]);
    const numbers = this.columnOf(this.plan.maps[cell.map], cell.hemi)?.numbers ?? [];
    const known = [];
    numbers.forEach((value, vertex) => surface.used[vertex] && !Number.isNaN(value) && known.push(vertex));
    const vertices = verticesInside(places, known, polygon);
    if (vertices.length) this.tell(cell.hemi, vertices);
  }

  tell(hemi, vertices) {
    this.picked = { hemi, vertices };
    this.drawOverlay(this.cells().cells);
    // Numbered, so that what was cleared can be picked again.
    this.picks = (this.picks ?? 0) + 1;
    this.tellServer("picked", { ...this.picked, number: this.picks });
  }
}
