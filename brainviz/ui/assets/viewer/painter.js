// Draws hemispheres with WebGL2: sulci in grey, values in colours above them, and borders of areas as lines.
//
// A change of map, threshold, limits or colours uploads one number per vertex or none at all.

/** Stands for no value in what is uploaded: shaders need not know NaN. */
export const NONE = -1e30;

const SURFACE_VERTEX = `#version 300 es
const float NONE = -9e29;
uniform mat3 frame;
uniform vec3 middle;
uniform vec2 shift, span;
uniform float depth, leastCeiling, onlyTested;
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in float sulcus;
layout(location = 3) in float value;
layout(location = 4) in float ceiling;
layout(location = 5) in float tested;
out float light, grey;
out vec2 paint;
void main() {
  vec3 place = frame * (position - middle);
  gl_Position = vec4((place.xy + shift) / span, -place.z / depth, 1.0);
  light = max((frame * normal).z, 0.0);
  grey = sulcus;
  bool known = value > NONE && ceiling >= leastCeiling && (onlyTested == 0.0 || tested > 0.0);
  paint = known ? vec2(value, 1.0) : vec2(0.0);
}`;

// Interpolated over a triangle, paint.y says how much of the place belongs to vertices that have a value: half of the way
// to a vertex that has none is painted, as that vertex's own part is not.
const SURFACE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D colours;
uniform float low, high, threshold, categories;
in float light, grey;
in vec2 paint;
out vec4 colour;
vec3 colourOf(float value) {
  float t = clamp((value - low) / (high - low), 0.0, 1.0);
  float n = float(textureSize(colours, 0).x);
  return texture(colours, vec2((t * (n - 1.0) + 0.5) / n, 0.5)).rgb;
}
void main() {
  vec3 below = mix(vec3(0.87), vec3(0.66), smoothstep(0.45, 0.55, grey)) * (0.72 + 0.28 * light);
  bool painted = paint.y > 0.5;
  float value = painted ? paint.x / paint.y : 0.0;
  if (categories > 0.0) painted = painted && fwidth(paint.x) + fwidth(paint.y) < 1e-4;
  else painted = painted && abs(value) >= threshold;
  vec3 shown = categories > 0.0 ? texelFetch(colours, ivec2(int(value + 0.5), 0), 0).rgb : colourOf(value);
  colour = vec4(painted ? shown : below, 1.0);
}`;

// Triangles between areas: the place belongs to the area of its nearest corner.
const SEAM_VERTEX = `#version 300 es
uniform mat3 frame;
uniform vec3 middle;
uniform vec2 shift, span;
uniform float depth, lift;
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 labels;
layout(location = 2) in vec3 tint;
flat out vec3 label, ink;
out vec3 weight;
void main() {
  vec3 place = frame * (position - middle);
  gl_Position = vec4((place.xy + shift) / span, -place.z / depth - lift, 1.0);
  label = labels;
  ink = tint;
  int corner = gl_VertexID % 3;
  weight = vec3(corner == 0, corner == 1, corner == 2);
}`;

const SEAM_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D colours;
uniform float border, width;
flat in vec3 label, ink;
in vec3 weight;
out vec4 colour;
void main() {
  if (border > 0.0) {
    vec3 inside = weight * label, outside = weight * (1.0 - label);
    float edge = max(max(inside.x, inside.y), inside.z) - max(max(outside.x, outside.y), outside.z);
    if (abs(edge) > 0.5 * width * fwidth(edge)) discard;
    colour = vec4(ink, 1.0);
    return;
  }
  float most = max(max(weight.x, weight.y), weight.z);
  float own = weight.x == most ? label.x : weight.y == most ? label.y : label.z;
  if (own < 0.0) discard;
  colour = vec4(texelFetch(colours, ivec2(int(own + 0.5), 0), 0).rgb, 1.0);
}`;

/** Everything that needs WebGL: programs, buffers, and the drawing of one hemisphere into one rectangle. */
export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    // What was drawn last stays readable, for copies of the picture. Edges are smoothed only at rest (`smooth`): without a
    // graphics card that takes twice as long.
    this.gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("This browser has no WebGL2.");
    this.surface = this.program(SURFACE_VERTEX, SURFACE_FRAGMENT);
    this.seam = this.program(SEAM_VERTEX, SEAM_FRAGMENT);
    this.palette = this.gl.createTexture();
    this.fine = null; // framebuffer with several samples per pixel, and its size
  }

  /** Have `draw` paint once more with smooth edges, and show that. */
  smooth(draw) {
    const { gl, canvas } = this;
    const size = `${canvas.width} ${canvas.height}`;
    if (this.fine?.size !== size) {
      for (const buffer of this.fine?.buffers ?? []) gl.deleteRenderbuffer(buffer);
      const frame = this.fine?.frame ?? gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      const buffers = [[gl.COLOR_ATTACHMENT0, gl.RGBA8], [gl.DEPTH_ATTACHMENT, gl.DEPTH_COMPONENT24]].map(([place, format]) => {
        const buffer = gl.createRenderbuffer();
        gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
        gl.renderbufferStorageMultisample(gl.RENDERBUFFER, 4, format, canvas.width, canvas.height);
        gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, buffer);
        return buffer;
      });
      this.fine = { frame, buffers, size };
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.fine.frame);
    draw();
    gl.disable(gl.SCISSOR_TEST);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.fine.frame);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(program, i);
      uniforms[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  /** Take the colours of the scale: 3 bytes each. */
  setColours(bytes) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, bytes.length / 3, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, bytes);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  }

  buffer(array, target = this.gl.ARRAY_BUFFER) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    gl.bindBuffer(target, buffer);
    gl.bufferData(target, array, gl.STATIC_DRAW);
    return buffer;
  }

  attribute(location, size, type = this.gl.FLOAT, normalised = false) {
    this.gl.enableVertexAttribArray(location);
    this.gl.vertexAttribPointer(location, size, type, normalised, 0, 0);
  }

  /** Upload a hemisphere's surface; values come later, and may be shared by several surfaces. */
  addSurface({ positions, normals, faces, sulci, box }) {
    const { gl } = this;
    const shape = gl.createVertexArray();
    gl.bindVertexArray(shape);
    const buffers = [this.buffer(positions)];
    this.attribute(0, 3);
    buffers.push(this.buffer(normals));
    this.attribute(1, 3);
    buffers.push(this.buffer(sulci));
    this.attribute(2, 1, gl.UNSIGNED_BYTE, true);
    buffers.push(this.buffer(faces, gl.ELEMENT_ARRAY_BUFFER));
    gl.bindVertexArray(null);
    return { shape, buffers, box, count: faces.length, type: faces instanceof Uint32Array ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT };
  }

  /** Upload triangles between areas: positions and labels of three corners each, and a colour per corner. */
  addSeams({ positions, labels, tints }) {
    const { gl } = this;
    const shape = gl.createVertexArray();
    gl.bindVertexArray(shape);
    const buffers = [this.buffer(positions)];
    this.attribute(0, 3);
    buffers.push(this.buffer(labels));
    this.attribute(1, 3);
    if (tints) {
      buffers.push(this.buffer(tints));
      this.attribute(2, 3, gl.UNSIGNED_BYTE, true);
    }
    gl.bindVertexArray(null);
    return { shape, buffers, count: positions.length / 3 };
  }

  /** Give the graphics memory back: a browser allows a page few pictures at a time. */
  stop() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  remove(item) {
    this.gl.deleteVertexArray(item.shape);
    for (const buffer of item.buffers) this.gl.deleteBuffer(buffer);
  }

  /** Begin a picture of this many pixels. */
  clear(width, height) {
    const { gl, canvas } = this;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(1, 1, 1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE); // the far side of a closed surface is never seen
    gl.depthFunc(gl.LEQUAL);
  }

  /**
   * Draw a hemisphere into a rectangle (pixels, from the lower left).
   * `sight`: frame, span, shift; `look`: low, high, threshold, leastCeiling, onlyTested, categories (0 or a number);
   * `columns`: buffers of value, ceiling, tested, any of which may be null; `seams`: { fill, borders }.
   */
  draw(surface, [x, y, width, height], sight, look, columns, seams, lineWidth) {
    const { gl } = this;
    gl.viewport(x, y, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(x, y, width, height);
    const depth = Math.hypot(...surface.box.size);
    this.use(this.surface, surface, sight, look, depth);
    gl.uniform1f(this.surface.uniforms.threshold, look.threshold);
    gl.uniform1f(this.surface.uniforms.leastCeiling, look.leastCeiling);
    gl.uniform1f(this.surface.uniforms.onlyTested, look.onlyTested && columns.tested ? 1 : 0);
    gl.uniform1f(this.surface.uniforms.categories, look.categories);
    gl.bindVertexArray(surface.shape);
    this.column(3, columns.value, NONE);
    this.column(4, columns.ceiling, -NONE);
    this.column(5, columns.tested, 0);
    gl.drawElements(gl.TRIANGLES, surface.count, surface.type, 0);
    if (seams.fill && look.categories) this.drawSeams(seams.fill, surface, sight, look, depth, 0, 1e-4, lineWidth);
    if (seams.borders) this.drawSeams(seams.borders, surface, sight, look, depth, 1, 4e-3, lineWidth);
    gl.bindVertexArray(null);
  }

  use(program, surface, sight, look, depth) {
    const { gl } = this;
    const { uniforms } = program;
    gl.useProgram(program.program);
    gl.uniformMatrix3fv(uniforms.frame, true, sight.frame);
    gl.uniform3fv(uniforms.middle, surface.box.middle);
    gl.uniform2fv(uniforms.shift, sight.shift);
    gl.uniform2fv(uniforms.span, sight.span);
    gl.uniform1f(uniforms.depth, depth);
    gl.uniform1f(uniforms.low, look.low);
    gl.uniform1f(uniforms.high, look.high);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.uniform1i(uniforms.colours, 0);
  }

  drawSeams(seams, surface, sight, look, depth, border, lift, lineWidth) {
    const { gl } = this;
    this.use(this.seam, surface, sight, look, depth);
    gl.uniform1f(this.seam.uniforms.border, border);
    gl.uniform1f(this.seam.uniforms.lift, lift);
    gl.uniform1f(this.seam.uniforms.width, lineWidth);
    gl.bindVertexArray(seams.shape);
    gl.drawArrays(gl.TRIANGLES, 0, seams.count);
  }

  /** Point an attribute of the bound surface at a column of numbers, or at one number for all vertices. */
  column(location, buffer, otherwise) {
    const { gl } = this;
    if (!buffer) {
      gl.disableVertexAttribArray(location);
      gl.vertexAttrib1f(location, otherwise);
      return;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    this.attribute(location, 1);
  }
}
