// Stacked bars. Every chart has a table of the same numbers beside it, which is what a screen reader reads.

import { init } from "./echarts.js";
import { h } from "./dom.js";

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const MANY = 62;
const LISTED = 10;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const contrast = matchMedia("(prefers-contrast: more)");

// The colours of series, from the style sheet: they differ in both themes.
export const colour = (index) => style(`--series-${index % 20}`);

// Draw into an element that is in the page. `data`: {labels, series: [{name, values}], format, axis, total}.
export function draw(element, data) {
  const chart = init(element, null, { renderer: "canvas" });
  const paint = () => chart.setOption(options(data), { notMerge: true });
  paint();
  chart.getZr().flush();
  // When it was drawn, for whoever measures.
  performance.mark("chart-drawn");
  const resized = new ResizeObserver(() => chart.resize());
  resized.observe(element);
  const themed = () => paint();
  window.addEventListener("themechange", themed);
  return {
    chart,
    dispose() {
      resized.disconnect();
      window.removeEventListener("themechange", themed);
      chart.dispose();
    },
  };
}

function options({ labels, series, format, axis }) {
  const [ink, muted, line, surface] = ["--ink", "--muted", "--line", "--surface"].map(style);
  const font = { fontFamily: style("--font"), fontSize: 12, color: muted };
  const many = labels.length > MANY;
  return {
    animation: !calm.matches && labels.length * series.length < 1000,
    animationDuration: 240,
    color: series.map((each, index) => colour(each.colour ?? index)),
    textStyle: { fontFamily: style("--font") },
    aria: { enabled: true, label: { enabled: false }, decal: { show: contrast.matches } },
    grid: { left: 4, right: 8, top: 12, bottom: many ? 44 : 4, containLabel: true },
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: style("--hover") } },
      confine: true,
      backgroundColor: surface,
      borderColor: line,
      borderWidth: 1,
      padding: 12,
      textStyle: { color: ink, fontSize: 13 },
      // An element, not markup: names are stored text, and a style attribute would be refused.
      formatter: (points) => tip(labels, series, format, points),
    },
    xAxis: {
      type: "category",
      data: labels.map((each) => each.axis),
      axisLine: { lineStyle: { color: line } },
      axisTick: { show: false },
      axisLabel: { ...font, hideOverlap: true, margin: 12 },
    },
    yAxis: {
      type: "value",
      splitNumber: 4,
      axisLabel: { ...font, formatter: axis },
      splitLine: { lineStyle: { color: line } },
    },
    dataZoom: many
      ? [
          { type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false },
          { type: "slider", height: 20, bottom: 8, borderColor: line, fillerColor: style("--hover"), textStyle: font, labelFormatter: (index) => labels[index]?.axis ?? "", dataBackground: { lineStyle: { color: line }, areaStyle: { color: line } }, brushSelect: false },
        ]
      : [],
    series: series.map((each, index) => ({
      type: "bar",
      name: each.name,
      stack: "all",
      data: each.values.map((value) => (value === 0 ? null : value)),
      barMaxWidth: 44,
      barCategoryGap: many ? "10%" : "28%",
      large: false,
      emphasis: { disabled: true },
      itemStyle: { borderColor: surface, borderWidth: many ? 0 : 0.5 },
    })),
  };
}

function tip(labels, series, format, points) {
  const index = points[0]?.dataIndex ?? 0;
  const shown = series
    .map((each, place) => ({ ...each, place, value: each.values[index] }))
    .filter((each) => each.value !== 0)
    .sort((left, right) => Math.abs(right.value) - Math.abs(left.value));
  const rows = shown.slice(0, LISTED).map((each) => {
    const dot = h("span", { class: "dot" });
    dot.style.background = colour(each.colour ?? each.place);
    return h("tr", null, h("th", null, dot, h("bdi", null, each.name)), h("td", null, format(index, each.place)));
  });
  return h(
    "div",
    { class: "tip" },
    h("strong", null, labels[index]?.title ?? ""),
    h("table", null, rows),
    shown.length > LISTED && h("p", null, `and ${shown.length - LISTED} more`),
    shown.length === 0 && h("p", null, "no usage"),
  );
}
