// The controls above and below the picture: what they look like, and which part of the look each of them changes.

import { isUnmoved, viewOf } from "./camera.js";

/** An element with attributes (functions are listeners) and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A row of buttons of which one is pressed. */
function choice(label, options, current, choose) {
  const buttons = options.map(([value, words, help]) =>
    element("button", { type: "button", "aria-pressed": String(value === current), title: help ?? null, click: () => choose(value) }, words),
  );
  return element("div", { class: "choice", role: "group", "aria-label": label }, element("span", { class: "label" }, label), ...buttons);
}

function slider(label, help, { low, high, step, value }, change) {
  const shown = element("output", {}, value.toFixed(2));
  const input = element("input", {
    type: "range", min: low, max: high, step, "aria-label": label,
    input: (event) => {
      shown.textContent = Number(event.target.value).toFixed(2);
      change(Number(event.target.value));
    },
  });
  input.value = value;
  return element("label", { class: "slider", title: help }, element("span", { class: "label" }, label), input, shown);
}

/** A field for a number; one that `change` refuses, by returning false, is put back to what it was. */
function number(label, value, change) {
  const text = +value.toFixed(3);
  const input = element("input", {
    type: "number", step: "any", "aria-label": label,
    change: () => {
      if (!Number.isFinite(input.valueAsNumber) || change(input.valueAsNumber) === false) input.value = text;
    },
  });
  input.value = text;
  return input;
}

function box(label, help, checked, change) {
  const input = element("input", { type: "checkbox", "aria-label": label, change: (event) => change(event.target.checked) });
  input.checked = checked;
  return element("label", { class: "box", title: help }, input, label);
}

const title = (word) => word[0].toUpperCase() + word.slice(1);

/** The row above the picture. `plan` is what the server sent, `look` how it is looked at, `change(part)` alters that. */
export function toolbar(plan, look, views, change) {
  const several = plan.maps.length > 1;
  const moved = !look.cameras.every(isUnmoved);
  const flat = look.surface === "flat";
  return element(
    "div",
    { class: "bar" },
    choice("Surface", Object.keys(plan.mesh.surfaces).map((name) => [name, title(name)]), look.surface, (surface) => change({ surface })),
    flat
      ? choice("Pointer", [["move", "Move", "Drag to move, scroll to come nearer"], ["lasso", "Lasso", "Draw around a patch of vertices"]], look.tool, (tool) => change({ tool }))
      : choice("View", views.map((name) => [name, title(name)]), viewOf(look.cameras[0]), (name) => change({ view: name })),
    moved ? element("button", { type: "button", class: "again", title: "Neither nearer nor shifted", click: () => change({ centred: true }) }, "Whole hemispheres") : null,
    choice("Hemispheres", [["both", "Both"], ["lh", "Left"], ["rh", "Right"]], look.side, (side) => change({ side })),
    flat || look.side !== "both" ? null : box("Mirrored", "Turning one hemisphere turns the other as its mirror image.", look.mirrored, (mirrored) => change({ mirrored })),
    several ? box("Linked", "Both maps are seen from the same direction.", look.linked, (linked) => change({ linked })) : null,
  );
}

/** The row below the picture: scale, thresholds, borders of areas. */
export function settings(plan, look, change) {
  const { scale, rois } = plan;
  const categorical = scale.kind === "categorical";
  const top = Math.max(Math.abs(scale.low), Math.abs(scale.high));
  return element(
    "div",
    { class: "bar" },
    categorical ? legend(scale) : colourBar(scale, look, change),
    categorical ? null : slider("Threshold", "Values nearer to 0 than this are left grey.", { low: 0, high: top, step: top > 0.2 ? 0.01 : 0.001, value: look.threshold }, (threshold) => change({ threshold })),
    plan.ceiling && !categorical
      ? slider("Noise ceiling above", "Vertices with a lower noise ceiling are left grey.", { low: 0, high: 1, step: 0.01, value: look.floor }, (floor) => change({ floor }))
      : null,
    plan.tested ? box(plan.tested.label, plan.tested.help, look.tested, (tested) => change({ tested })) : null,
    rois ? borders(rois, look, change) : null,
  );
}

function colourBar(scale, look, change) {
  const strip = element("canvas", { class: "strip", width: 256, height: 1, "aria-hidden": "true" });
  const colours = scale.palettes[look.colours];
  const picture = strip.getContext("2d");
  const pixels = picture.createImageData(256, 1);
  for (let i = 0; i < 256; i++) pixels.data.set([...colours.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  picture.putImageData(pixels, 0, 0);
  const [low, high] = look.limits;
  const symmetrical = scale.kind === "diverging";
  const setLow = (value) => (symmetrical ? value < 0 : value < high) && change({ limits: symmetrical ? [value, -value] : [value, high] });
  const setHigh = (value) => (symmetrical ? value > 0 : value > low) && change({ limits: symmetrical ? [-value, value] : [low, value] });
  const names = Object.keys(scale.palettes);
  const select = element("select", { "aria-label": "Colour scale", change: (event) => change({ colours: event.target.value }) }, ...names.map((name) => element("option", { value: name }, name)));
  select.value = look.colours;
  return element(
    "div",
    { class: "scale", role: "group", "aria-label": `${scale.label}, from ${low} to ${high}` },
    number("Lower end of the colour scale", low, setLow),
    element("div", { class: "strip-box" }, strip, element("span", { class: "label" }, scale.label)),
    number("Upper end of the colour scale", high, setHigh),
    select,
  );
}

function legend(scale) {
  const chips = scale.names.map((name, index) => {
    const [r, g, b] = scale.palettes.categories.subarray(3 * index, 3 * index + 3);
    return element("span", { class: "chip" }, element("i", { style: `background: rgb(${r}, ${g}, ${b})` }), name);
  });
  return element("div", { class: "legend" }, ...chips);
}

function borders(rois, look, change) {
  const chosen = new Set(look.borders);
  const toggle = (names, on) => {
    for (const name of names) on ? chosen.add(name) : chosen.delete(name);
    change({ borders: rois.names.filter((name) => chosen.has(name)) });
  };
  const sets = Object.entries(rois.sets).map(([set, names]) =>
    element(
      "fieldset",
      {},
      element("legend", {}, box(set, `All of ${set}`, names.every((name) => chosen.has(name)), (on) => toggle(names, on))),
      ...names.map((name) => box(name, `Border of ${name}`, chosen.has(name), (on) => toggle([name], on))),
    ),
  );
  const words = look.borders.length === 0 ? "ROI borders: none" : `ROI borders: ${look.borders.length}`;
  return element(
    "details",
    { class: "borders", open: look.bordersOpen, toggle: (event) => (look.bordersOpen = event.target.open) },
    element("summary", {}, words),
    element("div", { class: "sheet" }, box("Names", "Write the names of the areas beside their borders.", look.named, (named) => change({ named })), ...sets),
  );
}
