// Draws the charts of a page with uPlot. Each has its numbers in a script of JSON beside
// it, and as a table below for whoever does not see it. Lines are told apart by their
// dashes and by the name at their end, not by color alone.
(() => {
  const DASHES = [[], [6, 4], [2, 3]];
  const drawn = new Map();

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // light-dark() is resolved by the browser for a property of color alone.
  const resolved = (element, name) => {
    element.style.setProperty("color", color(name));
    const found = getComputedStyle(element).color;
    element.style.removeProperty("color");
    return found;
  };

  // The name of each line at its last point, moved apart where two would meet.
  const names = (labels, strokes) => (plot) => {
    const context = plot.ctx;
    const scale = devicePixelRatio || 1;
    context.save();
    context.font = `${12 * scale}px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    const last = plot.data[0].length - 1;
    const places = labels
      .map((label, n) => ({ label, n, y: plot.valToPos(plot.data[n + 1][last], "y", true) }))
      .sort((a, b) => a.y - b.y);
    const height = 14 * scale;
    const bottom = plot.bbox.top + plot.bbox.height - height / 2;
    places.forEach((place, at) => {
      if (at && place.y < places[at - 1].y + height) place.y = places[at - 1].y + height;
    });
    const over = places.length ? Math.max(0, places.at(-1).y - bottom) : 0;
    for (const { label, n, y } of places) {
      context.fillStyle = strokes[n];
      context.fillText(label, plot.bbox.left + plot.bbox.width + 8 * scale, y - over);
    }
    context.restore();
  };

  const draw = (element) => {
    const source = document.getElementById(element.dataset.chart);
    if (!source || !element.clientWidth) return;
    const { labels, at, values } = JSON.parse(source.textContent);
    const strokes = ["--accent", "--attention", "--unknown"].map((name) => resolved(element, name));
    const text = resolved(element, "--text-2");
    const line = resolved(element, "--line");
    drawn.get(element)?.destroy();
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: text, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: 240,
        padding: [12, 92, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.05, 1)] } },
        axes: [
          { ...axis, grid: { show: false }, values: (_plot, days) => days.map((day) => new Date(day * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" })) },
          { ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6], values: (_plot, found) => found.map((number) => number.toLocaleString("en")) },
        ],
        series: [{}, ...labels.map((label, n) => ({ label, stroke: strokes[n], width: 2, dash: DASHES[n], points: { show: false } }))],
        hooks: { draw: [names(labels, strokes)] },
      },
      [at, ...values],
      element,
    );
    drawn.set(element, plot);
  };

  const drawAll = () => {
    for (const element of drawn.keys()) if (!element.isConnected) drawn.delete(element);
    for (const element of document.querySelectorAll("[data-chart]")) draw(element);
  };

  let waiting = 0;
  const soon = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  };
  addEventListener("resize", soon);
  new MutationObserver(soon).observe(document.documentElement, { attributeFilter: ["data-bs-theme", "data-density", "data-nav"] });
  drawAll();
})();
