document.documentElement.classList.add("js");
for (const scroll of document.querySelectorAll(".scroll")) {
  const sheet = scroll.parentElement;
  const mark = () => {
    const hidden = scroll.scrollWidth - scroll.clientWidth;
    sheet.classList.toggle("over", hidden > 1);
    sheet.classList.toggle("end", scroll.scrollLeft >= hidden - 1);
  };
  scroll.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(scroll);
  mark();
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.o;
      const compare = (a, b) => {
        const x = key(a), y = key(b);
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}
const ticks = (low, high) => {
  const raw = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((x) => x * power >= raw);
  const all = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-6; i++) all.push(i * step);
  return all;
};
const decades = (low, high) => {
  const all = [], digits = high / low > 1000 ? [1] : [1, 2, 5];
  for (let p = Math.floor(Math.log10(low)); 10 ** p <= high; p++) {
    all.push(...digits.map((x) => x * 10 ** p).filter((x) => x >= low && x <= high));
  }
  return all.filter((_, i) => i % Math.ceil(all.length / 10) === 0);
};
const plain = (x, digits = 3) => x.toLocaleString("en", { maximumSignificantDigits: digits });
const DASHES = ["none", "6 3", "2 3", "8 3 2 3"];
for (const place of document.querySelectorAll(".compare")) {
  const { axes, steps, runs } = JSON.parse(place.dataset.runs);
  let scope = place.nextElementSibling;
  while (scope && !scope.querySelector("table")) scope = scope.nextElementSibling;
  const rows = [...scope.querySelector("table").tBodies[0].rows];
  const chosen = {};
  const controls = document.createElement("div");
  const chart = place.querySelector("svg");
  const add = (parent, name, attributes, text) => {
    const node = document.createElementNS(chart.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    parent.append(node);
    return node;
  };
  const boxes = (field) => {
    const values = [...new Set(runs.map((run) => run[field]))];
    chosen[field] = new Set(values);
    if (values.length < 2) return;
    const set = document.createElement("fieldset"), legend = document.createElement("legend");
    legend.textContent = field;
    set.append(legend);
    const inputs = values.map((value) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        chosen[field][box.checked ? "add" : "delete"](value);
        draw();
      });
      label.append(box);
      if (field === "arm") {
        const { colour, turn } = runs.find((run) => run.arm === value);
        const key = document.createElementNS(chart.namespaceURI, "svg");
        const style = `stroke:var(--c${colour});stroke-dasharray:${DASHES[turn % 4]}`;
        key.setAttribute("viewBox", "0 0 22 6");
        add(key, "line", { x1: 0, x2: 22, y1: 3, y2: 3, class: "key", style });
        label.append(key);
      }
      label.append(value || "as configured");
      set.append(label);
      return box;
    });
    const all = document.createElement("button");
    all.type = "button";
    all.textContent = "all or none";
    all.addEventListener("click", () => {
      const on = !inputs.every((box) => box.checked);
      inputs.forEach((box) => { box.checked = on; });
      chosen[field] = new Set(on ? values : []);
      draw();
    });
    set.append(all);
    controls.append(set);
  };
  const axis = document.createElement("select");
  axis.setAttribute("aria-label", "quantity");
  axes.forEach((label, i) => axis.append(new Option(label, i)));
  const log = document.createElement("input");
  log.type = "checkbox";
  log.checked = true;
  const draw = () => {
    const shown = runs.map((run) => Object.keys(chosen).every((key) => chosen[key].has(run[key])));
    rows.forEach((row, i) => { row.hidden = !shown[i]; });
    const lines = runs.map((run, i) => [run, shown[i] && run.curves[axis.value]])
      .filter(([, curve]) => curve)
      .map(([run, [number, values]]) => [run, steps[number], values]);
    chart.replaceChildren();
    chart.setAttribute("aria-label", `${axes[axis.value]} of ${lines.length} runs over steps`);
    if (!lines.length) {
      const none = "None of the chosen runs has this curve.";
      add(chart, "text", { x: 380, y: 170, class: "label middle" }, none);
      return;
    }
    const end = Math.max(1, ...lines.map(([, at]) => at[at.length - 1]));
    const ys = lines.flatMap(([, , values]) => values);
    let least = Math.min(...ys), most = Math.max(...ys);
    log.disabled = least <= 0;
    const scale = log.checked && least > 0 ? Math.log10 : (x) => x;
    if (least === most) {
      const room = Math.abs(least) / 10 || 1;
      least -= room;
      most += room;
    }
    const apart = Math.max(Math.abs(least), Math.abs(most)) / (most - least);
    const digits = Math.max(3, Math.ceil(Math.log10(apart)) + 2);
    const span = scale(most) - scale(least) || 1;
    const x = (step) => 56 + (step / end) * 690;
    const y = (value) => 300 - ((scale(value) - scale(least)) / span) * 285;
    let marks = scale === Math.log10 ? decades(least, most) : [];
    if (marks.length < 3) marks = ticks(least, most);
    for (const value of marks) {
      add(chart, "line", { x1: 56, x2: 746, y1: y(value), y2: y(value), class: "rule" });
      add(chart, "text", { x: 50, y: y(value) + 4, class: "label end" }, plain(value, digits));
    }
    for (const step of ticks(0, end)) {
      add(chart, "text", { x: x(step), y: 320, class: "label middle" }, step.toLocaleString("en"));
    }
    add(chart, "text", { x: 746, y: 337, class: "label end" }, "step");
    for (const [run, at, values] of lines) {
      const points = at.map((step, i) => `${x(step).toFixed(1)},${y(values[i]).toFixed(1)}`);
      if (points.length === 1) points.push(points[0]); // a dot, by its round ends
      const last = plain(values[values.length - 1]);
      const name = [run.arm, run.setting, `seed ${run.seed}`, last].filter(Boolean).join(", ");
      const style = `stroke:var(--c${run.colour});stroke-dasharray:${DASHES[run.turn % 4]}`;
      const kind = at.length > 1 ? "run" : "run dotted";
      const drawn = add(chart, "polyline", { points: points.join(" "), class: kind, style });
      add(drawn, "title", {}, name);
    }
  };
  const line = document.createElement("p"), label = document.createElement("label");
  axis.addEventListener("change", draw);
  log.addEventListener("change", draw);
  label.append(log, "logarithmic");
  line.append(axis, label);
  controls.append(line);
  ["arm", "setting", "seed"].forEach(boxes);
  place.prepend(controls);
  draw();
}
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
