/** The page's icons: strokes on a grid of 24. */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  add: "M12 5v14M5 12h14",
  attach: "M4 16l4.5-5 3.5 4 2.5-2.5L20 18M4 5h16v14H4zM15.5 9.5h.01",
  books: "M5 4v16M9 4v16M5 4h4M5 20h4M13 5l3.5-1L21 19l-3.5 1z",
  brain: "M12 5a3 3 0 0 0-5 2 3 3 0 0 0-2 5 3.2 3.2 0 0 0 2 5 3 3 0 0 0 5 1zM12 5a3 3 0 0 1 5 2 3 3 0 0 1 2 5 3.2 3.2 0 0 1-2 5 3 3 0 0 1-5 1z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  cube: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  down: "M12 5v14M6 13l6 6 6-6",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  eject: "M12 6l7 8H5zM5 18h14",
  left: "M14.5 6l-6 6 6 6",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  right: "M9.5 6l6 6-6 6",
  redo: "M19 12a7 7 0 1 1-2.2-5.1L19 9M19 4.5V9h-4.5",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l4.5 4.5",
  send: "M12 19V6M6 11.5L12 5.5l6 6",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  sliders: "M12 15.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM12 3v2.5M12 18.5V21M4.2 7.5l2.2 1.3M17.6 15.2l2.2 1.3M4.2 16.5l2.2-1.3M17.6 8.8l2.2-1.3",
  stop: "M7 7h10v10H7z",
  tool: "M14.5 6.5a4 4 0 0 1 5-1l-2.6 2.6 1 1 2.6-2.6a4 4 0 0 1-5.4 4.8L8 18.5a2 2 0 0 1-2.8-2.8l7.1-7.1a4 4 0 0 1 2.2-2.1z",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  upload: "M12 16V5M7 9.5l5-5 5 5M5 20h14",
  warning: "M12 4l9 16H3zM12 10v4.5M12 17h.01",
};

/**
 * For the eye only: what it stands on says in words what it does.
 * @param {string} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
