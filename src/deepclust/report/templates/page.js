// The map: points on a canvas that can be moved, enlarged, pointed at and lassoed, by mouse, finger and keyboard;
// and the button that switches the language.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const shorts = (text) => new Uint16Array(bytes(text).buffer);
  const xs = shorts(data.x), ys = shorts(data.y), clusters = shorts(data.cluster), sure = bytes(data.probability);
  const n = xs.length, full = 65535;
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
  const tip = document.getElementById("tip"), chosen = document.getElementById("chosen");
  const longs = (text) => new Uint32Array(bytes(text).buffer);
  const thumbs = new Map(data.thumbs ? Array.from(longs(data.thumbs.rows), (row, place) => [row, place]) : []);
  const by = data.thumbs ? Math.max(1, Math.floor(56 / Math.max(data.thumbs.width, data.thumbs.height))) : 1;
  if (data.thumbs) {
    const { width, height, columns, uri } = data.thumbs, style = document.createElement("style");
    style.textContent = `.thumb { width: ${width * by}px; height: ${height * by}px; background-size: ${width * by * columns}px auto; background-image: url(${uri}); }`;
    document.head.append(style);
  }
  let view = { scale: 1, x: 0, y: 0 }, hover = -1, lasso = null, selecting = false, picked = null, hidden = new Set();

  // Corners of the shapes that clusters after the tenth have besides a colour, in a square of side one around zero.
  const plus = [[-0.5, -0.17], [-0.17, -0.17], [-0.17, -0.5], [0.17, -0.5], [0.17, -0.17], [0.5, -0.17],
    [0.5, 0.17], [0.17, 0.17], [0.17, 0.5], [-0.17, 0.5], [-0.17, 0.17], [-0.5, 0.17]];
  const shapes = {
    square: null, circle: "round", triangle: [[0, -0.5], [0.5, 0.45], [-0.5, 0.45]], wedge: [[0, 0.5], [0.5, -0.45], [-0.5, -0.45]],
    diamond: [[0, -0.55], [0.55, 0], [0, 0.55], [-0.55, 0]], plus, cross: plus.map(([a, b]) => [(a - b) * Math.SQRT1_2, (a + b) * Math.SQRT1_2]),
  };

  // From data (0..65535) to the canvas in CSS pixels, and back.
  const side = () => Math.min(canvas.clientWidth, canvas.clientHeight);
  const left = (i) => (xs[i] / full) * side() * view.scale + view.x;
  const down = (i) => (1 - ys[i] / full) * side() * view.scale + view.y;

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const unit = (side() * view.scale) / full;  // once: reading a width of the page for every point takes longer than drawing it
    const size = Math.max(1.5, Math.min(6, (n > 20000 ? 1.5 : 3) * Math.sqrt(view.scale)));
    const style = getComputedStyle(document.documentElement);
    for (const [cluster, order] of groups.entries()) {
      if (hidden.has(cluster)) continue;
      pen.fillStyle = data.colours[cluster];
      const shape = shapes[data.shapes[cluster]], large = shape ? 1.7 * size : size;  // a shape needs room to be seen
      for (const i of order) {
        const x = xs[i] * unit + view.x, y = (full - ys[i]) * unit + view.y;
        if (x < -4 || y < -4 || x > width + 4 || y > height + 4) continue;
        pen.globalAlpha = picked && !picked.has(i) ? 0.08 : 0.35 + 0.5 * (sure[i] / 255);
        if (!shape) { pen.fillRect(x - size / 2, y - size / 2, size, size); continue; }
        pen.beginPath();
        if (shape === "round") pen.arc(x, y, large / 2, 0, 7);
        else shape.forEach(([a, b], k) => (k ? pen.lineTo(x + a * large, y + b * large) : pen.moveTo(x + a * large, y + b * large)));
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    pen.font = `700 ${data.names.length > 20 ? 11 : 15}px system-ui, sans-serif`;  // many names must not hide the points
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineWidth = 4;
    pen.strokeStyle = style.getPropertyValue("--paper");
    pen.fillStyle = style.getPropertyValue("--ink");
    for (const [cluster, place] of middles.entries()) {
      if (place < 0 || hidden.has(cluster)) continue;
      pen.strokeText(data.names[cluster], left(place), down(place));
      pen.fillText(data.names[cluster], left(place), down(place));
    }
    if (hover >= 0) ring(hover, style.getPropertyValue("--ink"));
    if (lasso && lasso.length > 1) {
      pen.beginPath();
      lasso.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath();
      pen.strokeStyle = style.getPropertyValue("--accent");
      pen.lineWidth = 2;
      pen.stroke();
    }
  }

  function ring(i, colour) {
    pen.beginPath();
    pen.arc(left(i), down(i), 7, 0, 7);
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.stroke();
  }

  // Rows of each cluster, and of each the row nearest to its median: where its name is written.
  const groups = Array.from({ length: data.names.length }, () => []);
  for (let i = 0; i < n; i++) groups[clusters[i]].push(i);
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const middles = groups.map((order) => {
    if (!order.length) return -1;
    const x = median(order.map((i) => xs[i])), y = median(order.map((i) => ys[i]));
    return order.reduce((best, i) => (distance(i, x, y) < distance(best, x, y) ? i : best), order[0]);
  });
  function distance(i, x, y) { return (xs[i] - x) ** 2 + (ys[i] - y) ** 2; }

  let asked = false;
  function redraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function zoom(factor, x, y) {
    const scale = Math.max(0.5, Math.min(200, view.scale * factor)), by = scale / view.scale;
    view = { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    redraw();
  }
  function reset() { view = { scale: 1, x: (canvas.clientWidth - side()) / 2, y: (canvas.clientHeight - side()) / 2 }; redraw(); }

  function nearest(x, y) {
    let best = -1, least = 144;
    const unit = (side() * view.scale) / full;
    for (let i = 0; i < n; i++) {
      const d = (xs[i] * unit + view.x - x) ** 2 + ((full - ys[i]) * unit + view.y - y) ** 2;
      if (d >= least || hidden.has(clusters[i])) continue;
      least = d;
      best = i;
    }
    return best;
  }

  const say = (key, value) => data.texts[document.documentElement.lang][key].replace("{value}", () => value);

  // What is said of a row. All text goes in as text, never as markup.
  function describe(i) {
    const box = document.createElement("div");
    const name = document.createElement("strong");
    name.textContent = data.ids ? data.ids[i] : String(data.rows ? data.rows[i] : i);
    const words = document.createElement("span");
    const facts = [say("tip_cluster", data.names[clusters[i]]), say("tip_probability", (sure[i] / 255).toFixed(2))];
    if (data.labels) facts.push(say("tip_label", data.labels[i]));
    words.textContent = ` ${facts.join(" · ")}`;
    const image = thumbnail(i);
    if (image) box.append(image);
    box.append(name, words);
    return box;
  }
  function thumbnail(i) {
    if (!thumbs.has(i)) return null;
    const { width, height, columns } = data.thumbs, place = thumbs.get(i), image = document.createElement("span");
    image.className = "thumb";
    image.style.backgroundPosition = `-${(place % columns) * width * by}px -${Math.floor(place / columns) * height * by}px`;
    return image;
  }
  function point(i, x, y) {
    if (i !== hover) { hover = i; redraw(); }
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.replaceChildren(describe(i));
    tip.style.left = `${Math.min(x + 14, canvas.clientWidth - 160)}px`;
    tip.style.top = `${y + 14}px`;
  }

  function inside(polygon, x, y) {
    let odd = false;
    for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
      const [xa, ya] = polygon[a], [xb, yb] = polygon[b];
      if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) odd = !odd;
    }
    return odd;
  }
  function pick(rows) {
    picked = rows.length ? new Set(rows) : null;
    chosen.hidden = !picked;
    if (picked) {
      const counts = new Map();
      for (const i of rows) counts.set(clusters[i], (counts.get(clusters[i]) || 0) + 1);
      const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([c, count]) => `${say("tip_cluster", data.names[c])}: ${count}`);
      chosen.querySelector(".count").textContent = `${say("tip_rows", rows.length)} (${parts.join(", ")})`;
      const strip = chosen.querySelector(".strip-of-rows");
      strip.replaceChildren(...rows.map(thumbnail).filter(Boolean).slice(0, 48));
      chosen.querySelector("textarea").value = rows.map((i) => (data.ids ? data.ids[i] : data.rows ? data.rows[i] : i)).join("\n");
    }
    redraw();
  }

  // Mouse and finger: one moves or lassoes, two enlarge.
  const fingers = new Map();
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), ...at(event)); }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (selecting && fingers.size === 1) lasso = [at(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!fingers.has(event.pointerId)) return point(nearest(x, y), x, y);
    const [fx, fy] = fingers.get(event.pointerId);
    if (lasso) { lasso.push([x, y]); redraw(); }
    else if (fingers.size === 1) { view.x += x - fx; view.y += y - fy; redraw(); }
    else {
      const [, other] = [...fingers].find(([id]) => id !== event.pointerId);
      zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(fx - other[0], fy - other[1])), ...other);
    }
    fingers.set(event.pointerId, [x, y]);
  });
  function release(event) {
    fingers.delete(event.pointerId);
    if (!lasso) return;
    const polygon = lasso;
    lasso = null;
    const rows = [];
    if (polygon.length > 2) for (let i = 0; i < n; i++) if (!hidden.has(clusters[i]) && inside(polygon, left(i), down(i))) rows.push(i);
    pick(rows);
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => point(-1));

  const keys = {
    ArrowLeft: () => (view.x += 40), ArrowRight: () => (view.x -= 40), ArrowUp: () => (view.y += 40), ArrowDown: () => (view.y -= 40),
    "+": () => zoom(1.3, canvas.clientWidth / 2, canvas.clientHeight / 2), "=": () => keys["+"](),
    "-": () => zoom(1 / 1.3, canvas.clientWidth / 2, canvas.clientHeight / 2), 0: reset, Escape: () => pick([]),
    Enter: () => { const [x, y] = [canvas.clientWidth / 2, canvas.clientHeight / 2]; let i = middleOfView(x, y); if (i >= 0) point(i, left(i), down(i)); },
  };
  function middleOfView(x, y) {
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) { const d = (left(i) - x) ** 2 + (down(i) - y) ** 2; if (d < least && i !== hover) { least = d; best = i; } }
    return best;
  }
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    redraw();
  });
  document.getElementById("zoom-in").addEventListener("click", () => keys["+"]());
  document.getElementById("zoom-out").addEventListener("click", () => keys["-"]());
  document.getElementById("zoom-reset").addEventListener("click", () => { pick([]); reset(); });
  const select = document.getElementById("select");
  select.addEventListener("click", () => {
    selecting = !selecting;
    select.setAttribute("aria-pressed", String(selecting));
    canvas.classList.toggle("selecting", selecting);
  });
  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      const cluster = Number(button.dataset.show);
      if (hidden.has(cluster)) hidden.delete(cluster); else hidden.add(cluster);
      button.setAttribute("aria-pressed", String(!hidden.has(cluster)));
      redraw();
    });
  }
  for (const link of document.querySelectorAll('a[href^="#c"]')) {
    link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
  }
  document.getElementById("language").addEventListener("click", () => {
    const root = document.documentElement;
    root.lang = root.lang === "en" ? "zh" : "en";
  });
  new ResizeObserver(reset).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    for (const card of document.querySelectorAll("details")) card.open = true;
    draw();
  });
  reset();
})();
