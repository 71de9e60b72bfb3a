// The mix explorer: sliders for what the mix shall be good at and how long it is trained, the optimum solved again at
// each move. Names come from the user's data: they are only ever set as text.
(() => {
  "use strict";
  const CURVE_POINTS = 21;
  const WIDTH = 460, HEIGHT = 300, RIGHT = 26, TOP = 12, BOTTOM = 40;
  const SVG = "http://www.w3.org/2000/svg";

  function made(name, attributes = {}, ...children) {
    const node = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const percent = (ratio) => `${(100 * ratio).toFixed(ratio > 0 && ratio < 0.0995 ? 1 : 0)} %`;
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
  const label = (metric) => metric.replace(/^bpb\./, "");

  function rounded(value) {
    for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
    }
    return value.toFixed(0);
  }

  function ticks(low, high) {
    const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((one) => one >= raw * 0.999);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
    return [found, Math.max(0, -Math.floor(Math.log10(step)))];
  }

  // A frame with two axes, and where a value lies in it.
  function plot(xs, ys, xLabel, yLabel, title) {
    const pad = (values, share) => {
      const low = Math.min(...values), high = Math.max(...values), room = (high - low || 1) * share;
      return [low - room, high + room];
    };
    const [xLow, xHigh] = pad(xs, 0), [yLow, yHigh] = pad(ys, 0.06);
    const [xTicks, xDigits] = ticks(xLow, xHigh), [yTicks, yDigits] = ticks(yLow, yHigh);
    const LEFT = 36 + 8 * Math.max(...yTicks.map((at) => at.toFixed(yDigits).length));
    const x = (value) => LEFT + ((value - xLow) / (xHigh - xLow)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - ((value - yLow) / (yHigh - yLow)) * (HEIGHT - TOP - BOTTOM);
    const svg = made("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": title });
    const text = (left, top, content, anchor, style = "") =>
      made("svg:text", { x: left, y: top, "text-anchor": anchor, class: style }, content);
    for (const at of xTicks) {
      svg.append(made("svg:path", { d: `M${x(at)} ${TOP}V${HEIGHT - BOTTOM}`, class: "grid" }));
      svg.append(text(x(at), HEIGHT - BOTTOM + 16, at.toFixed(xDigits), "middle"));
    }
    for (const at of yTicks) {
      svg.append(made("svg:path", { d: `M${LEFT} ${y(at)}H${WIDTH - RIGHT}`, class: "grid" }));
      svg.append(text(LEFT - 6, y(at) + 4, at.toFixed(yDigits), "end"));
    }
    svg.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, xLabel, "middle", "label"));
    const side = text(13, (TOP + HEIGHT - BOTTOM) / 2, yLabel, "middle", "label");
    side.setAttribute("transform", `rotate(-90 13 ${(TOP + HEIGHT - BOTTOM) / 2})`);
    svg.append(side);
    return { svg, x, y };
  }

  function slider(name, low, high, step, value, told, changed) {
    const output = made("output", {}, told(value));
    const input = made("input", { type: "range", min: low, max: high, step, value, "aria-label": name });
    const tell = () => {
      output.textContent = told(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => { tell(); changed(); });
    tell();
    return {
      row: made("label", { class: "slide" }, made("span", {}, name), input, output),
      get value() { return Number(input.value); },
      set value(now) { input.value = now; tell(); },
    };
  }

  function table(caption, columns, rows) {
    const head = made("tr", {}, ...columns.map((name) => made("th", { scope: "col", class: name.startsWith("#") ? "n" : "" },
      name.replace("#", ""))));
    const body = rows.map((row) => made("tr", {}, ...row.map((cell, i) =>
      i ? made("td", { class: columns[i].startsWith("#") ? "n" : "" }, cell) : made("th", { scope: "row" }, cell))));
    return made("table", {}, made("caption", {}, made("span", {}, caption)), made("thead", {}, head), made("tbody", {}, ...body));
  }

  function explore(place, data) {
    const { model, styles, runs } = data;
    const ready = solver.prepared(model), sources = model.sources, metrics = model.metrics;
    const recipe = { weights: model.weights, tokens: model.target_tokens, epochs: model.max_epochs };
    let latest = null, pending = 0;

    const heaviest = Math.max(...recipe.weights);
    const asked = () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(show); };
    const weighs = metrics.map((metric, m) =>
      slider(label(metric), 0, 100, 1, Math.round((100 * recipe.weights[m]) / heaviest), (value) => String(value), asked));
    const tokens = slider("Tokens to train on", -2, 2, 0.02, 0, (power) => rounded(recipe.tokens * 10 ** power), asked);
    const epochs = slider("Most repetitions of a token", -2, 3, 0.05, 0,
      (power) => (recipe.epochs * 2 ** power).toPrecision(2), asked);
    const pessimism = slider("Caution (sds added)", 0, 4, 0.25, model.pessimism, (value) => value.toFixed(2), asked);
    const told = made("p", { role: "status", "aria-live": "polite", class: "remark" });
    const byRatio = made("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Ratios" });
    const byMetric = made("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Predictions" });
    const chosen = made("select", { "aria-label": "Shown in the charts" }, made("option", { value: -1 }, "the objective"),
      ...metrics.map((metric, m) => made("option", { value: m }, label(metric))));
    const curves = made("figure"), scatter = made("figure");
    const reset = made("button", { type: "button" }, "As in the recipe");
    chosen.addEventListener("change", () => draw(latest));
    reset.addEventListener("click", () => {
      weighs.forEach((one, m) => { one.value = Math.round((100 * recipe.weights[m]) / heaviest); });
      [tokens, epochs].forEach((one) => { one.value = 0; });
      pessimism.value = model.pessimism;
      show();
    });

    function settings() {
      const raw = weighs.map((one) => one.value), all = raw.reduce((a, b) => a + b, 0);
      const isRecipe = raw.every((value, m) => value === Math.round((100 * recipe.weights[m]) / heaviest));
      const plain = isRecipe ? recipe.weights : raw.map((value) => value / all);
      return { all, plain, weights: plain.map((weight, m) => weight * model.slopes[m]), pessimism: pessimism.value,
               tokens: recipe.tokens * 10 ** tokens.value, epochs: recipe.epochs * 2 ** epochs.value };
    }

    function show() {
      const now = settings();
      const limits = solver.limitsOf(model, now.tokens, now.epochs);
      const fault = now.all > 0 ? solver.fault(limits, sources) : "give at least one evaluation a weight";
      if (fault) {
        told.textContent = `No mix: ${fault}.`;
        told.className = "remark warning";
        return;
      }
      const begun = performance.now();
      const best = solver.optimum(ready, now.weights, limits, now.pessimism, latest ? latest.best : data.best);
      const took = performance.now() - begun;
      const natural = solver.projected(model.natural, limits);
      const atNatural = ready.objective(natural, now.weights, 0);
      latest = { best, natural, limits, now };
      const gain = atNatural.mean - best.mean;
      told.className = "remark";
      told.textContent = `Predicted ${best.mean.toFixed(4)} (sd ${best.sd.toFixed(4)}), ${Math.abs(gain).toFixed(4)} ` +
        `${gain >= 0 ? "better" : "worse"} than the natural mix; solved in ${took.toFixed(0)} ms.`;
      place.dataset.ratios = JSON.stringify(Array.from(best.ratios));
      place.dataset.milliseconds = took.toFixed(1);
      byRatio.replaceChildren(table("The best mix under these settings", ["source", "", "#ratio", "#in the recipe", "#natural",
        "#tokens", "#repetitions", ""], sources.map((name, j) => [name, bar(best.ratios[j], styles[j]),
        percent(best.ratios[j]), percent(data.best[j]), percent(natural[j]), rounded(best.ratios[j] * now.tokens),
        ((best.ratios[j] * now.tokens) / Math.max(model.unique_tokens[j], 1)).toFixed(2),
        best.ratios[j] > limits.upper[j] - 1e-6 && limits.upper[j] < 1 ? "all it may give" : ""])));
      byMetric.replaceChildren(table("Predicted for each evaluation, lower is better", ["evaluation", "#weight", "#here",
        "#natural", "#difference"], metrics.map((metric, m) => {
        const here = ready.mean(best.ratios, m), there = ready.mean(natural, m);
        return [label(metric), percent(now.plain[m]), here.toFixed(4), there.toFixed(4), signed(here - there)];
      })));
      requestAnimationFrame(() => draw(latest));
    }

    function bar(ratio, style) {
      return made("svg:svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "bar", "aria-hidden": "true" },
        made("svg:rect", { width: 100 * ratio, height: 10, class: `fill ${style}` }));
    }

    // What more of one source would do, the others sharing the rest in their proportions.
    function draw(found) {
      if (!found) return;
      const metric = Number(chosen.value), { best, limits, now } = found;
      const valueAt = (mixture) => metric >= 0 ? ready.mean(mixture, metric)
        : now.weights.reduce((total, weight, m) => total + (weight ? weight * ready.mean(mixture, m) : 0), 0);
      const lines = sources.map((_, j) => {
        const points = [], room = limits.upper[j] - limits.lower[j];
        const steps = Array.from({ length: CURVE_POINTS }, (_, step) => // closer together at both ends, where curves bend
          limits.lower[j] + 0.5 * (1 - Math.cos((Math.PI * step) / (CURVE_POINTS - 1))) * room);
        for (const ratio of [...steps, best.ratios[j]].sort((a, b) => a - b)) {
          const rest = 1 - best.ratios[j];
          const moved = Array.from(best.ratios, (one, k) => k === j ? ratio
            : rest > 1e-9 ? (one * (1 - ratio)) / rest : (1 - ratio) / (sources.length - 1));
          const fixed = { lower: limits.lower.map((one, k) => (k === j ? ratio : one)),
                          upper: limits.upper.map((one, k) => (k === j ? ratio : one)), groups: limits.groups };
          if (solver.fault(fixed, sources)) continue;
          points.push([ratio, valueAt(solver.projected(moved, fixed))]);
        }
        return points;
      });
      const title = `How ${chosen.selectedOptions[0].textContent} responds to each ratio`;
      const frame = plot(lines.flat().map(([x]) => x), lines.flat().map(([, y]) => y), "ratio of one source", "predicted", title);
      lines.forEach((points, j) => {
        if (!points.length) return;
        const steps = points.map(([x, y], i) => `${i ? "L" : "M"}${frame.x(x).toFixed(1)} ${frame.y(y).toFixed(1)}`).join("");
        frame.svg.append(made("svg:path", { d: steps, class: `line ${styles[j]}` }, made("svg:title", {}, sources[j])));
        frame.svg.append(made("svg:circle", { cx: frame.x(best.ratios[j]), cy: frame.y(valueAt(best.ratios)), r: 4,
          class: `dot ${styles[j]}` }, made("svg:title", {}, `${sources[j]}: ${percent(best.ratios[j])}`)));
      });
      const keys = made("p", { class: "legend" }, ...sources.map((name, j) =>
        made("span", {}, made("span", { class: `key ${styles[j]}` }), name)));
      curves.replaceChildren(frame.svg, keys, made("figcaption", {}, `${title}; dots: the mix above.`));
      const value = (row) => metric >= 0 ? row[metric] : row.reduce((total, one, m) => total + now.weights[m] * one, 0);
      const points = runs.map((run) => [value(run.measured), value(run.left_out), run]);
      const all = points.flatMap(([x, y]) => [x, y]);
      const cloud = plot(all, all, "measured", "predicted without that run", "Every proxy run, predicted against measured");
      const [low, high] = [Math.min(...all), Math.max(...all)];
      cloud.svg.append(made("svg:path", { d: `M${cloud.x(low)} ${cloud.y(low)}L${cloud.x(high)} ${cloud.y(high)}`,
        class: "line diagonal" }));
      for (const [x, y, run] of points) {
        const ratios = run.mixture.map((ratio, j) => `${sources[j]} ${percent(ratio)}`).join(", ");
        cloud.svg.append(made("svg:circle", { cx: cloud.x(x), cy: cloud.y(y), r: 4, class: "dot kept" },
          made("svg:title", {}, `${run.run}: measured ${x.toFixed(4)}, predicted ${y.toFixed(4)}; ${ratios}`)));
      }
      scatter.replaceChildren(cloud.svg, made("figcaption", {}, "Each proxy run; predicted by fits that never saw its mixture."));
    }

    const goals = made("fieldset", {}, made("legend", {}, "What it shall be good at"), ...weighs.map((one) => one.row));
    const training = made("fieldset", {}, made("legend", {}, "The training"), tokens.row, epochs.row, pessimism.row, reset);
    place.replaceChildren(made("div", { class: "pair" }, goals, training), told, byRatio,
      made("label", { class: "slide" }, made("span", {}, "Charts of"), chosen), made("div", { class: "pair" }, curves, scatter), byMetric);
    show();
  }

  for (const place of document.querySelectorAll(".explorer")) {
    const data = JSON.parse(document.getElementById(place.dataset.from).textContent);
    const begin = () => explore(place, data);
    // The fit is made ready when it comes into view: a page is read from its top.
    if (!("IntersectionObserver" in window)) begin();
    else new IntersectionObserver((seen, observer) => {
      if (seen.some((one) => one.isIntersecting)) { observer.disconnect(); begin(); }
    }, { rootMargin: "600px" }).observe(place);
  }
})();
