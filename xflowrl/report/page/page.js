"use strict";

// Figures are drawn when they come into sight: a page may have hundreds.
const panels = JSON.parse(document.getElementById("panels").textContent);
const config = { displaylogo: false, responsive: true, plotlyServerURL: "" };
const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    const { data, layout } = panels[target.dataset.panel];
    Plotly.newPlot(target, data, layout, config);
  }
}, { rootMargin: "400px" });
document.querySelectorAll("[data-panel]").forEach((panel) => {
  panel.style.minHeight = `${panels[panel.dataset.panel].layout.height}px`;
  observer.observe(panel);
});

// The table: numbers by value, texts by the alphabet, what is empty last.
const table = document.getElementById("table");
if (table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
  };
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    heads.forEach((other) => { other.ariaSort = null; });
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    const keyed = [...body.rows].map((row) => [valueOf(row, column), row]);
    keyed.sort(([a], [b]) => {
      if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...keyed.map(([, row]) => row));
  }));
  const filter = document.getElementById("filter"), shown = document.getElementById("shown");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${body.rows.length} rows`;
  };
  filter.addEventListener("input", apply);
  apply();
}
