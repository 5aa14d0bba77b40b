"use strict";

// The original beside the graph after so many rewrites. A node is [label, text, x, y, born, died],
// an edge [source, reader, born, died]: there from state `born` on, before `died` (-1: for ever).
const views = JSON.parse(document.getElementById("views").textContent);
const host = document.getElementById("rewriting-view");
if (host) showView(host, views);

function showView(host, views) {
  host.innerHTML = `
    <div class="controls"><select aria-label="run"></select><button data-by="-1">◀</button>
    <input type="range" min="0" aria-label="rewrites"><button data-by="1">▶</button>
    <button data-fit>whole graph</button>
    <label><input type="checkbox" checked> go to the rewrite</label></div>
    <div class="said"></div>
    <div class="sides"><div class="side"><span>before</span></div><div class="strip"></div>
    <div class="side"><span>after</span></div></div>`;
  const find = (selector) => host.querySelector(selector);
  const select = find("select"), slider = find("input[type=range]"), follow = find("input[type=checkbox]");
  const sides = [...host.querySelectorAll(".side")].map((side) => {
    side.append(make("svg", {}));
    return side.lastChild;
  });
  const strip = make("svg", { preserveAspectRatio: "none" }), frame = make("rect", { class: "frame" });
  find(".strip").append(strip);
  let view, box, bounds;

  views.forEach((one, index) => select.append(new Option(one.title, index)));
  select.addEventListener("change", () => open(views[select.value]));
  slider.addEventListener("input", () => step(follow.checked));
  host.querySelectorAll("[data-by]").forEach((button) => button.addEventListener("click", () => {
    slider.value = Number(slider.value) + Number(button.dataset.by);
    step(follow.checked);
  }));
  find("[data-fit]").addEventListener("click", () => look(bounds));
  sides.forEach(moveAndZoom);
  const jump = (event) => {
    const { top, height } = strip.getBoundingClientRect();
    const y = bounds[1] + (event.clientY - top) / height * bounds[3];
    look([box[0], y - box[3] / 2, box[2], box[3]]);
  };
  strip.addEventListener("pointerdown", (event) => { strip.setPointerCapture(event.pointerId); jump(event); });
  strip.addEventListener("pointermove", (event) => event.buttons && jump(event));
  open(views[0]);

  function open(chosen) {
    view = chosen;
    const xs = view.nodes.map((node) => node[2]), ys = view.nodes.map((node) => node[3]);
    const [left, top] = [Math.min(...xs) - 90, Math.min(...ys) - 50];
    bounds = [left, top, Math.max(...xs) + 90 - left, Math.max(...ys) + 50 - top];
    slider.max = view.states.length - 1;
    slider.value = slider.max;
    step(false);
    // A graph of many layers would be a hair as a whole: what is read begins at its top.
    const shape = sides[0].clientHeight / sides[0].clientWidth;
    look(bounds[3] > 3000 ? [view.nodes[0][2] - 550, top, 1100, 1100 * shape] : bounds);
  }

  function step(goesThere) {
    const at = Number(slider.value), state = view.states[at];
    const total = view.states.at(-1).index, cost = state.cost_ms;
    find(".said").textContent = `${state.index} of ${total} rewrites` +
      (cost === null ? "" : `, cost ${cost.toPrecision(4)} ms`) +
      (state.rules.length ? `: ${state.rules.join(", ")}` : "");
    draw(sides[0], 0, (node) => [
      node[5] !== -1 && node[5] <= at && "gone", node[5] === at && at > 0 && "now"]);
    draw(sides[1], at, (node) => [
      node[4] > 0 && "new", node[4] === at && at > 0 && "now"]);
    overview(at);
    const touched = view.nodes.filter((node) => at > 0 && (node[4] === at || node[5] === at));
    if (goesThere && touched.length) center(touched);
  }

  function draw(svg, at, classesOf) {
    const isThere = (born, died) => born <= at && (died === -1 || at < died);
    const parts = [];
    const [width, height] = view.node_size;
    for (const [source, reader, born, died] of view.edges) {
      if (!isThere(born, died)) continue;
      const [, , x1, y1] = view.nodes[source], [, , x2, y2] = view.nodes[reader];
      const from = y1 + height / 2, to = y2 - height / 2, bend = Math.max(12, (to - from) / 2);
      parts.push(make("path", { d: `M${x1} ${from}C${x1} ${from + bend} ${x2} ${to - bend} ${x2} ${to}` }));
    }
    for (const node of view.nodes) {
      const [label, text, x, y, born, died] = node;
      if (!isThere(born, died)) continue;
      const isEnd = label === "input" || label === "output";
      const group = make("g", { class: [isEnd && "end", ...classesOf(node)].filter(Boolean).join(" ") });
      const rect = make("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: isEnd ? 16 : 4 });
      const title = make("title", {}), words = make("text", { x, y });
      title.textContent = text;
      words.textContent = label;
      if (label.length > 15) words.setAttribute("textLength", width - 8);
      if (label.length > 15) words.setAttribute("lengthAdjust", "spacingAndGlyphs");
      rect.append(title);
      group.append(rect, words);
      parts.push(group);
    }
    svg.replaceChildren(...parts);
  }

  // The whole original between the two, squeezed: where rewrites are, and where one looks.
  function overview(at) {
    const [width, height] = view.node_size;
    const marks = view.nodes.filter(([, , , , born]) => born === 0).map(([, , x, y, , died]) => make("rect", {
      x: x - width / 2, y: y - height / 2, width, height,
      class: died === -1 || died > at ? "" : died === at ? "now" : "gone" }));
    strip.setAttribute("viewBox", bounds.join(" "));
    strip.replaceChildren(...marks, frame);
  }

  function look(at) {
    box = at;
    const [x, y, width, height] = [bounds[0], box[1], bounds[2], box[3]];
    for (const [key, value] of Object.entries({ x, y, width, height })) frame.setAttribute(key, value);
    sides.forEach((svg) => svg.setAttribute("viewBox", box.join(" ")));
  }

  // Keeps the zoom where the rewrite fits in, if it is close enough to read.
  function center(nodes) {
    const xs = nodes.map((node) => node[2]), ys = nodes.map((node) => node[3]);
    const [left, right, top, foot] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const width = Math.max(right - left + 300, Math.min(box[2], 1100), (foot - top + 300) / 1.2);
    const height = width * sides[0].clientHeight / sides[0].clientWidth;
    look([(left + right - width) / 2, (top + foot - height) / 2, width, height]);
  }

  function moveAndZoom(svg) {
    // Of the picture's units a pixel; the box is fitted into the element, in its middle.
    const unit = () => Math.max(box[2] / svg.clientWidth, box[3] / svg.clientHeight);
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      const factor = Math.exp(event.deltaY * 0.0015), { left, top, width, height } = svg.getBoundingClientRect();
      const x = box[0] + box[2] / 2 + (event.clientX - left - width / 2) * unit();
      const y = box[1] + box[3] / 2 + (event.clientY - top - height / 2) * unit();
      look([x + (box[0] - x) * factor, y + (box[1] - y) * factor, box[2] * factor, box[3] * factor]);
    }, { passive: false });
    svg.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      look([box[0] - event.movementX * unit(), box[1] - event.movementY * unit(), box[2], box[3]]);
    });
    svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
  }
}

function make(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
