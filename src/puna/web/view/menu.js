/** A menu below a button: arrows move, Escape and a click elsewhere close it. */

import { button } from "./controls.js";
import { element } from "./dom.js";

/** @param {HTMLElement} opener @param {[icon: string, label: string, act: () => unknown, kind?: string][]} entries */
export function openMenu(opener, entries) {
  const items = entries.map(([name, label, act, kind = ""]) => {
    const item = button(name, label, () => {
      menu.hidePopover();
      opener.focus();
      return act();
    }, kind);
    item.role = "menuitem";
    return item;
  });
  const ontoggle = ({ newState }) => {
    opener.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "closed") menu.remove();
  };
  const menu = element("div.menu", { role: "menu", popover: "auto", ontoggle, onkeydown: (event) => move(event, items) }, items);
  document.body.append(menu);
  menu.showPopover();
  place(menu, opener.getBoundingClientRect());
  items[0].focus();
}

function place(menu, beside) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = beside.bottom + height + 8 < innerHeight;
  menu.style.left = `${Math.max(8, Math.min(beside.right - width, innerWidth - width - 8))}px`;
  menu.style.top = `${below ? beside.bottom + 4 : Math.max(8, beside.top - height - 4)}px`;
}

function move(event, items) {
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  items[(next + items.length) % items.length].focus();
}
