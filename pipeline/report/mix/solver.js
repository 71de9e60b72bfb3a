// A fitted mix and its optimum, in the page: the models of mixes/regression.py, minimised as mixes/objective.py does.
// N runs, S sources, M metrics; D = 2S inputs of the process. The names are those of the Python code.
const solver = (() => {
  "use strict";

  const SOURCE_START = 0.02;
  const INNER_STEPS = 40;
  const MEMORY = 5;
  const RANDOM_STARTS = 6;
  const MOST_STEPS = 60, SCREENING_STEPS = 8, OBSERVED_STARTS = 3;
  const WORK = 2e7; // multiplications that a search may spend on further starts: some hundredths of a second

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const dot = (a, b) => {
    let total = 0;
    for (let i = 0; i < a.length; i++) total += a[i] * b[i];
    return total;
  };

  function views(mixture, shift) {
    const n = mixture.length, both = new Float64Array(2 * n);
    for (let j = 0; j < n; j++) {
      both[j] = Math.log(mixture[j] + shift);
      both[j + n] = Math.sqrt(Math.sqrt(mixture[j] + shift));
    }
    return both;
  }

  function spreadOf(values) {
    const mean = sum(values) / values.length;
    return [mean, Math.sqrt(sum(values.map((value) => (value - mean) ** 2)) / values.length)];
  }

  // Lower triangle L of L L' = matrix (n x n, row by row).
  function cholesky(matrix, n) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let value = matrix[i * n + j];
        for (let k = 0; k < j; k++) value -= matrix[i * n + k] * matrix[j * n + k];
        if (i === j && !(value > 0)) throw new Error("covariance is not positive definite");
        matrix[i * n + j] = i === j ? Math.sqrt(value) : value / matrix[j * n + j];
      }
    }
    return matrix;
  }

  function solved(lower, n, right) {
    const x = Float64Array.from(right);
    for (let i = 0; i < n; i++) {
      let value = x[i];
      for (let k = 0, at = i * n; k < i; k++) value -= lower[at + k] * x[k];
      x[i] = value / lower[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      x[i] /= lower[i * n + i];
      for (let k = 0, at = i * n, value = x[i]; k < i; k++) x[k] -= lower[at + k] * value;
    }
    return x;
  }

  // The process of one metric, conditioned on all runs (gaussian_process.GaussianProcesses).
  function process(model, inputs, metric) {
    const { lengths, matern, linear, noise } = model.kernels[metric];
    const n = inputs.rows.length, d = inputs.centre.length;
    const losses = model.losses.map((row) => row[metric]);
    const [centre, deviation] = spreadOf(losses);
    const scale = deviation > 1e-12 ? deviation : 1;
    const { flat } = inputs; // [N x D]
    const scaled = flat.map((value, i) => value / lengths[i % d]);
    const cross = new Float64Array(n), steepness = new Float64Array(n);
    const byLength = Float64Array.from(lengths, (length) => 1 / length);

    function against(point) {
      const own = Float64Array.from(point, (value, i) => value * byLength[i]);
      for (let row = 0, at = 0; row < n; row++) {
        let squared = 0, product = 0;
        for (let i = 0; i < d; i++, at++) {
          const apart = scaled[at] - own[i];
          squared += apart * apart;
          product += flat[at] * point[i];
        }
        const distance = Math.sqrt(5 * squared), decay = matern * Math.exp(-distance);
        const steep = decay * (1 + distance);
        cross[row] = steep + (decay * distance * distance) / 3 + linear * (1 + product / d);
        steepness[row] = (5 / 3) * steep;
      }
    }

    const covariance = new Float64Array(n * n);
    inputs.rows.forEach((row, i) => {
      against(row);
      covariance.set(cross.subarray(0, i + 1), i * n);
      covariance[i * n + i] += noise / model.trust[i][metric] + model.jitter;
    });
    const lower = cholesky(covariance, n);
    const weights = solved(lower, n, losses.map((loss) => (loss - centre) / scale));

    function mean(point) {
      against(point);
      return centre + scale * dot(cross, weights);
    }

    // Mean, variance, and the derivatives of both by the inputs.
    function at(point) {
      against(point);
      const explained = solved(lower, n, cross);
      const prior = matern + linear * (1 + dot(point, point) / d);
      const variance = Math.max(prior - dot(cross, explained), model.jitter);
      const meanSlope = new Float64Array(d), varianceSlope = new Float64Array(d);
      for (let row = 0, at = 0; row < n; row++) {
        const byMean = weights[row], byVariance = explained[row], steep = steepness[row];
        for (let i = 0; i < d; i++, at++) {
          const slope = steep * (flat[at] - point[i]) * byLength[i] * byLength[i] + (linear / d) * flat[at];
          meanSlope[i] += byMean * slope;
          varianceSlope[i] -= byVariance * slope;
        }
      }
      for (let i = 0; i < d; i++) {
        meanSlope[i] *= scale;
        varianceSlope[i] = 2 * scale * scale * (varianceSlope[i] + (linear / d) * point[i]);
      }
      return { mean: centre + scale * dot(cross, weights), variance: scale * scale * variance, meanSlope, varianceSlope };
    }
    return { mean, at, scale };
  }

  // Value and derivatives of one metric's law (power_law.PowerLaws).
  function law(laws, metric, shift, mixture) {
    const n = mixture.length, exponents = laws.exponents[metric], grown = new Float64Array(n), bent = new Float64Array(n);
    for (let j = 0; j < n; j++) {
      const raised = (mixture[j] + shift) ** exponents[j];
      grown[j] = raised - shift ** exponents[j];
      bent[j] = (exponents[j] * raised) / (mixture[j] + shift);
    }
    const slope = new Float64Array(n), scale = laws.scales[metric];
    let value = laws.floors[metric];
    for (let term = 0; term < laws.bases[metric].length; term++) {
      const effects = laws.effects[metric][term], power = laws.powers[metric][term];
      const effective = laws.bases[metric][term] + dot(effects, grown);
      const reducible = Math.exp(Math.min(60, Math.max(-60, -power * Math.log(effective))));
      const steep = (scale * power * reducible) / effective;
      value += reducible;
      for (let j = 0; j < n; j++) slope[j] -= steep * effects[j] * bent[j];
    }
    return { value: laws.centres[metric] + scale * value, slope };
  }

  // Ready to be evaluated. The process of a metric is conditioned on the runs when it is first asked for.
  function prepared(model) {
    const rows = model.mixtures.map((mixture) => views(mixture, model.shift));
    const spreads = Array.from(rows[0], (_, i) => spreadOf(rows.map((row) => row[i])));
    const inputs = { centre: spreads.map(([mean]) => mean), scale: spreads.map(([, s]) => (s > 1e-9 ? s : 1)) };
    const inputOf = (mixture) => views(mixture, model.shift).map((v, i) => (v - inputs.centre[i]) / inputs.scale[i]);
    inputs.rows = model.mixtures.map(inputOf);
    inputs.flat = Float64Array.from(inputs.rows.flatMap((row) => Array.from(row)));
    const processes = [];
    const processOf = (metric) => (processes[metric] ??= process(model, inputs, metric));
    const sources = model.sources.length;

    function mean(mixture, metric) {
      const values = [processOf(metric).mean(inputOf(mixture)),
                      ...model.laws.map((laws) => law(laws, metric, model.shift, mixture).value)];
      return sum(values.map((value, family) => model.shares[family][metric] * value));
    }

    // A mixture as the process sees it: its inputs, and their derivatives by the ratios.
    function seen(mixture) {
      const chain = new Float64Array(2 * sources);
      for (let j = 0; j < sources; j++) {
        const shifted = mixture[j] + model.shift;
        chain[j] = 1 / (shifted * inputs.scale[j]);
        chain[j + sources] = (0.25 * Math.sqrt(Math.sqrt(shifted))) / (shifted * inputs.scale[j + sources]);
      }
      return { mixture, point: inputOf(mixture), chain };
    }

    // Mean and sd of one metric at a mixture, and their derivatives by the ratios (regression.Surrogate).
    function metricAt({ mixture, point, chain }, metric) {
      const found = processOf(metric).at(point);
      const families = model.laws.map((laws) => law(laws, metric, model.shift, mixture));
      const share = model.shares.map((row) => row[metric]);
      let mean = share[0] * found.mean;
      families.forEach((one, i) => { mean += share[i + 1] * one.value; });
      let variance = found.variance + share[0] * (found.mean - mean) ** 2;
      families.forEach((one, i) => { variance += share[i + 1] * (one.value - mean) ** 2; });
      const sd = Math.sqrt(variance), slope = new Float64Array(sources), sdSlope = new Float64Array(sources);
      for (let j = 0; j < sources; j++) {
        const k = j + sources;
        const own = found.meanSlope[j] * chain[j] + found.meanSlope[k] * chain[k];
        slope[j] = share[0] * own;
        let between = share[0] * (found.mean - mean) * own;
        for (let i = 0; i < families.length; i++) {
          slope[j] += share[i + 1] * families[i].slope[j];
          between += share[i + 1] * (families[i].value - mean) * families[i].slope[j];
        }
        const bent = found.varianceSlope[j] * chain[j] + found.varianceSlope[k] * chain[k];
        sdSlope[j] = (bent + 2 * between) / (2 * sd);
      }
      return { mean, sd, slope, sdSlope };
    }

    // Weighted sum of the metrics: mean, sd, mean + pessimism x sd, and the derivative of the last (objective.Objective).
    function objective(mixture, weights, pessimism) {
      const used = weights.map((weight, metric) => ({ weight, metric })).filter(({ weight }) => weight > 0);
      const there = seen(mixture), found = used.map(({ metric }) => metricAt(there, metric));
      const weighted = found.map((one, i) => used[i].weight * one.sd), all = sum(weighted);
      const c = model.error_correlation;
      const sd = Math.sqrt(c * all * all + (1 - c) * dot(weighted, weighted));
      const slope = new Float64Array(sources);
      found.forEach((one, i) => {
        const bySd = (pessimism * used[i].weight * (c * all + (1 - c) * weighted[i])) / sd;
        for (let j = 0; j < sources; j++) slope[j] += used[i].weight * one.slope[j] + bySd * one.sdSlope[j];
      });
      const value = sum(found.map((one, i) => used[i].weight * one.mean));
      return { mean: value, sd, value: value + pessimism * sd, slope };
    }

    const spread = (weights) => sum(weights.map((weight, metric) => (weight > 0 ? weight * processOf(metric).scale : 0)));
    return { model, mean, objective, spread };
  }

  // Bounds of each ratio and of groups' sums in a training on so many tokens (limits.Limits).
  function limitsOf(model, targetTokens, maxEpochs) {
    const upper = model.highest.map((highest, j) => {
      const cap = Math.min(highest, (maxEpochs * Math.max(model.unique_tokens[j], 1)) / targetTokens);
      return Math.abs(cap - model.lower[j]) < 1e-9 ? model.lower[j] : cap;
    });
    return { lower: model.lower, upper, groups: model.groups };
  }

  // Why no mixture is within; empty if one is.
  function fault(limits, names) {
    const crossed = names.filter((_, j) => limits.lower[j] > limits.upper[j] + 1e-9);
    if (crossed.length) return `${crossed.join(", ")} must have more than its tokens allow`;
    const grouped = new Set(limits.groups.flatMap((group) => group.members));
    let least = 0, most = 0;
    for (const group of limits.groups) {
      const low = sum(group.members.map((j) => limits.lower[j])), high = sum(group.members.map((j) => limits.upper[j]));
      if (low > group.upper + 1e-9 || high < group.lower - 1e-9) return `the bounds of group ${group.name} cannot be met`;
      least += Math.max(low, group.lower);
      most += Math.min(high, group.upper);
    }
    names.forEach((_, j) => {
      if (grouped.has(j)) return;
      least += limits.lower[j];
      most += limits.upper[j];
    });
    if (least > 1 + 1e-9) return `the lowest ratios sum to ${least.toFixed(3)}, more than 1`;
    if (most < 1 - 1e-9) return `the tokens that may be used fill only ${(100 * most).toFixed(1)} % of such a training`;
    return "";
  }

  // The level at which sum(clip(values - level, lower, upper)) over the members is a total.
  function levelOf(values, limits, members, total) {
    let low = Math.min(...members.map((j) => values[j] - limits.upper[j]));
    let high = Math.max(...members.map((j) => values[j] - limits.lower[j]));
    for (let step = 0; step < 60 && high - low > 1e-15; step++) {
      const middle = (low + high) / 2;
      let filled = 0;
      for (const j of members) filled += Math.min(limits.upper[j], Math.max(limits.lower[j], values[j] - middle));
      if (filled > total) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  // The nearest mixture within the limits. Groups are disjoint, so that each has a range of levels of its own.
  function projected(values, limits) {
    const lowest = new Float64Array(values.length).fill(-Infinity), highest = lowest.map(() => Infinity);
    for (const group of limits.groups) {
      const most = levelOf(values, limits, group.members, group.upper);
      const least = levelOf(values, limits, group.members, group.lower);
      const sumAt = (level) => sum(group.members.map((j) =>
        Math.min(limits.upper[j], Math.max(limits.lower[j], values[j] - level))));
      for (const j of group.members) {
        if (sumAt(most) <= group.upper + 1e-9) lowest[j] = sumAt(-1e9) <= group.upper ? -Infinity : most;
        highest[j] = sumAt(1e9) >= group.lower ? Infinity : least;
      }
    }
    const n = values.length, filled = new Float64Array(n);
    let low = -Infinity, high = Infinity, level = 0;
    for (let step = 0; step < 100; step++) { // Newton's steps on a sum that falls piecewise linearly, kept within bounds
      let total = 0, free = 0;
      for (let j = 0; j < n; j++) {
        const own = level < lowest[j] ? lowest[j] : level > highest[j] ? highest[j] : level;
        const value = values[j] - own;
        filled[j] = value < limits.lower[j] ? limits.lower[j] : value > limits.upper[j] ? limits.upper[j] : value;
        total += filled[j];
        if (own === level && filled[j] === value) free++;
      }
      if (Math.abs(total - 1) < 1e-14) break;
      if (total > 1) low = level;
      else high = level;
      if (high - low < 1e-15) break;
      const next = free ? level + (total - 1) / free : NaN;
      if (next > low && next < high) level = next;
      else level = high === Infinity ? (low < 1 ? 2 : 2 * low) : low === -Infinity ? (high > -1 ? -2 : 2 * high) : (low + high) / 2;
    }
    return filled;
  }

  // The move d of least slope.d + d'Bd/2 that stays within: spectral projected gradient (Birgin, Martinez, Raydan 2000).
  function move(origin, slope, curvature, limits) {
    const n = origin.length;
    let point = Float64Array.from(origin), best = point, step = 1;
    const model = (there) => {
      const away = there.map((value, j) => value - origin[j]), bent = new Float64Array(n);
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) bent[i] += curvature[i * n + j] * away[j];
      return { value: dot(slope, away) + 0.5 * dot(away, bent), slope: bent.map((value, j) => value + slope[j]) };
    };
    let here = model(point), bestValue = here.value, first = 0;
    step = 0.1 / Math.max(...here.slope.map(Math.abs), 1e-12);
    const recent = [here.value];
    for (let count = 0; count < INNER_STEPS; count++) {
      const target = projected(point.map((value, j) => value - step * here.slope[j]), limits);
      const direction = target.map((value, j) => value - point[j]);
      const fall = dot(direction, here.slope);
      first = Math.max(first, -fall);
      if (fall > -1e-10 * first) break;
      let part = 1, next, found;
      do {
        next = point.map((value, j) => value + part * direction[j]);
        found = model(next);
        part /= 2;
      } while (found.value > Math.max(...recent) + 2e-4 * part * fall && part > 1e-6);
      const moved = next.map((value, j) => value - point[j]), bent = found.slope.map((value, j) => value - here.slope[j]);
      const along = dot(moved, bent);
      step = along > 1e-18 ? Math.min(1e6, Math.max(1e-9, dot(moved, moved) / along)) : step * 4;
      point = next;
      here = found;
      recent.push(here.value);
      if (recent.length > MEMORY) recent.shift();
      if (here.value < bestValue) [best, bestValue] = [point, here.value];
    }
    return best.map((value, j) => value - origin[j]);
  }

  // Projected quasi-Newton descent (Schmidt and others 2009): few evaluations, each step within the limits.
  // `known`: the curvature that an earlier descent ended with, if there was one.
  function descended(value, spread, limits, start, evaluations, known = null) {
    const n = start.length;
    let point = projected(start, limits), here = value(point), used = 1;
    const scale = Math.max(...here.slope.map(Math.abs), 1e-12);
    const curvature = new Float64Array(known ?? n * n);
    for (let j = 0; j < n && !known; j++) curvature[j * n + j] = scale / (point[j] + SOURCE_START);
    while (used < evaluations) {
      const direction = move(point, here.slope, curvature, limits);
      const fall = dot(direction, here.slope);
      if (fall > -1e-9 * spread) break;
      let part = 1, next, found;
      do {
        next = point.map((one, j) => Math.min(limits.upper[j], Math.max(limits.lower[j], one + part * direction[j])));
        found = value(next);
        used++;
        part /= 2;
      } while (found.value > here.value + 2e-4 * part * fall && used < evaluations && part > 1e-4);
      if (found.value >= here.value) break;
      const moved = next.map((one, j) => one - point[j]);
      let bent = found.slope.map((one, j) => one - here.slope[j]);
      const carried = new Float64Array(n);
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) carried[i] += curvature[i * n + j] * moved[j];
      const along = dot(moved, carried), own = dot(moved, bent);
      if (own < 0.2 * along) { // Powell's damping keeps the curvature positive
        const share = (0.8 * along) / (along - own);
        bent = bent.map((one, j) => share * one + (1 - share) * carried[j]);
      }
      const product = dot(moved, bent);
      if (product > 1e-18 && along > 1e-18) {
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) {
            curvature[i * n + j] += (bent[i] * bent[j]) / product - (carried[i] * carried[j]) / along;
          }
        }
      }
      const gained = here.value - found.value;
      point = next;
      here = found;
      if (gained < 1e-8 * spread) break;
    }
    return { ratios: point, curvature, used, ...here };
  }

  // A generator of numbers in (0, 1) that are the same each time.
  function drawing(seed) {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 4294967296;
    };
  }

  // The mixture of lowest mean + pessimism x sd. `weights` [M] are used x slope; `from`: what was found last, or a mixture.
  function optimum(ready, weights, limits, pessimism, from) {
    const { model } = ready, sources = model.sources.length;
    const value = (mixture) => ready.objective(mixture, weights, pessimism), spread = ready.spread(weights);
    let best = descended(value, spread, limits, from.ratios ?? from, MOST_STEPS, from.curvature);
    // Where a search is cheap, others begin at the best runs and at random: the first may be in a valley of its own.
    const cost = model.mixtures.length * (model.mixtures.length + 6 * sources) * weights.filter((w) => w > 0).length;
    const observed = model.losses.map((row, i) => [dot(row, weights), i]).sort((a, b) => a[0] - b[0]);
    const starts = observed.slice(0, OBSERVED_STARTS).map(([, i]) => model.mixtures[i]);
    const draw = drawing(1);
    for (let count = 0; count < RANDOM_STARTS; count++) {
      const drawn = Array.from({ length: sources }, () => -Math.log(draw()));
      starts.push(drawn.map((one) => one / sum(drawn)));
    }
    const screened = starts.slice(0, Math.floor(WORK / (cost * SCREENING_STEPS)))
      .map((start) => descended(value, spread, limits, start, SCREENING_STEPS)).sort((a, b) => a.value - b.value);
    if (screened.length && screened[0].value < best.value + 0.1 * spread) {
      const other = descended(value, spread, limits, screened[0].ratios, MOST_STEPS, screened[0].curvature);
      if (other.value < best.value) best = other;
    }
    return best;
  }

  return { prepared, limitsOf, fault, projected, optimum };
})();
if (typeof module !== "undefined") module.exports = solver;
