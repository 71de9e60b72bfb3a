// Thresholds that can be moved: what other limits would keep of a sample of documents whose scores are in the page.
(() => {
  "use strict";
  const FREE = "0", LOST = "1";
  const BREAKS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };

  // Documents kept under these limits, and those of which it is not known because a step has not seen them.
  function kept(data, limits) {
    let sure = 0, unknown = 0;
    for (let i = 0; i < data.states.length; i++) {
      if (data.states[i] === LOST) continue;
      const isBroken = data.rules.some((rule, r) =>
        rule.values[i] !== null && BREAKS[rule.drops](rule.values[i], limits[r]));
      if (isBroken) continue;
      if (data.states[i] === FREE) sure++;
      else unknown++;
    }
    return { sure, unknown };
  }

  const precise = (value) => String(Number(value.toPrecision(4)));
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function connect(place) {
    const data = JSON.parse(document.getElementById(place.dataset.from).textContent);
    const told = document.querySelector(`.what-if[data-from="${CSS.escape(place.dataset.from)}"]`);
    const recipe = data.rules.map((rule) => rule.limit), limits = [...recipe];
    const size = data.states.length, before = kept(data, recipe).sure / size;
    const setters = []; // by rule: moves its slider, its line and its limit

    function show() {
      const { sure, unknown } = kept(data, limits);
      const share = sure / size, sd = Math.sqrt((share * (1 - share)) / size);
      const moved = data.rules.map((rule, r) => [rule, r]).filter(([, r]) => limits[r] !== recipe[r]);
      const error = data.documents > size ? ` ± ${percent(2 * sd)}` : "";
      told.replaceChildren(`These thresholds keep ${percent(share)}${error} of the documents; the recipe's keep ${percent(before)}. `);
      if (unknown) told.append(`Of ${percent(unknown / size)} more a later step knows nothing yet. `);
      if (moved.length) {
        const code = document.createElement("code"), back = document.createElement("button");
        const changes = new Set(moved.map(([rule, r]) => ` --set ${rule.option}=${precise(limits[r])}`));
        code.textContent = data.command + [...changes].join("");
        back.type = "button";
        back.textContent = "As in the recipe";
        back.addEventListener("click", () => { setters.forEach((set, r) => set(recipe[r])); show(); });
        told.append("All documents: ", code, " ", back);
      } else {
        told.append("Move a threshold to see what it would keep.");
      }
      place.dataset.kept = sure;
    }

    for (const figure of place.querySelectorAll("figure[data-rule]")) {
      const r = Number(figure.dataset.rule), rule = data.rules[r];
      const low = Number(figure.dataset.low), high = Number(figure.dataset.high);
      const line = figure.querySelector(".threshold"), row = document.createElement("label");
      const input = document.createElement("input"), output = document.createElement("output");
      const isWhole = rule.values.every((value) => value === null || Number.isInteger(value)) && Number.isInteger(rule.limit);
      row.className = "slide";
      Object.assign(input, { type: "range", min: low, max: high, step: isWhole ? 1 : (high - low) / 400 });
      input.min = isWhole ? Math.floor(low) : low;
      input.max = isWhole ? Math.ceil(high) : high;
      input.setAttribute("aria-label", rule.option);
      setters[r] = (limit) => {
        limits[r] = limit;
        input.value = limit;
        output.textContent = `${rule.drops} ${precise(limit)}`;
        input.setAttribute("aria-valuetext", `drops ${output.textContent}`);
        const share = Math.min(1, Math.max(0, (limit - low) / (high - low))); // a limit may lie far outside
        const x = Number(figure.dataset.left) + share * Number(figure.dataset.width);
        for (const end of ["x1", "x2"]) line.setAttribute(end, x);
      };
      setters[r](rule.limit);
      input.addEventListener("input", () => { // an option may be the limit of several scores
        const limit = Number(input.value);
        setters.forEach((set, other) => { if (data.rules[other].option === rule.option) set(limit); });
        show();
      });
      row.append(input, output);
      figure.append(row);
    }
    show();
  }

  for (const place of document.querySelectorAll(".rules[data-from]")) connect(place);
})();
