// What can be seen of a page by its computed styles; an expression, so that a test can evaluate one of its functions.
({
  // Texts with less contrast than WCAG AA asks of small type.
  faint() {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    };
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const behind = (node) => {
      for (let one = node; one; one = one.parentElement) {
        const colour = rgba(getComputedStyle(one).backgroundColor);
        if (colour[3] > 0.99) return colour;
      }
      return [1, 1, 1, 1];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      const words = walker.currentNode.data.trim().slice(0, 30);
      if (!words || !node.checkVisibility() || node.closest(".unseen, :disabled, option, noscript")) continue;
      const style = getComputedStyle(node);
      const text = light(rgba(node.namespaceURI.endsWith("svg") ? style.fill : style.color));
      const ground = light(rgba(`rgb(${behind(node).slice(0, 3).map((part) => 255 * part).join(" ")})`));
      const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
      if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${node.tagName} ${words}`);
    }
    return found;
  },

  // What is to be hit and is smaller than WCAG 2.2 AA asks; a field in a label is hit by its label, too.
  small() {
    const all = [...document.querySelectorAll("button, select, summary, input:not([type=file])")];
    const isSmall = ({ width, height }) => Math.min(width, height) < 24;
    return all.filter((node) => node.checkVisibility() && isSmall((node.closest("label") ?? node).getBoundingClientRect())).map((node) => node.outerHTML);
  },

  // Whether the focus is seen, where there is one; a field for files shows it on its label.
  isFocusSeen() {
    const node = document.activeElement.id === "file" ? document.querySelector(".add") : document.activeElement;
    return node === document.body || getComputedStyle(node).outlineStyle !== "none";
  },

  // What a screen reader would have no words for.
  nameless() {
    const all = [...document.querySelectorAll("button, select, input, [role=img], [role=application]")];
    const isNamed = (node) =>
      node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim() || node.querySelector("img[alt]:not([alt=''])");
    return all.filter((node) => node.checkVisibility() && !isNamed(node)).map((node) => node.outerHTML);
  },

  // What moves.
  moving() {
    const isMoving = (style) => parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
    return [...document.querySelectorAll("*")].filter((node) => isMoving(getComputedStyle(node))).map((node) => node.outerHTML);
  },
})
