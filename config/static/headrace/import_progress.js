// Keeps the part of an import's page that tells how far it is, while workers are at it.
"use strict";

const look = async () => {
  const shown = document.getElementById("import-progress");
  if (!shown?.dataset.open) return;
  try {
    const answer = await fetch(window.location.href, {headers: {Accept: "text/html"}});
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.getElementById("import-progress");
    if (now && !shown.contains(document.activeElement)) shown.replaceWith(now);
  } catch {
    // The next look may succeed.
  }
  setTimeout(look, 3000);
};
setTimeout(look, 3000);
