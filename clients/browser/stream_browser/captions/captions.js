/**
 * Begins the caption page: reads its address, and makes the page, or the overlay in its place.
 */

import { CaptionPage } from "./caption-page.js";
import { element } from "./element.js";
import { askForKey, keptKey } from "../shared/key-dialog.js";
import { LiveApi } from "./live-api.js";
import { showOverlay } from "./overlay.js";
import { readParameters } from "./parameter.js";

const parameters = readParameters(location.search, location.hash);
if (parameters.key || parameters.token) hideSecrets();

const dialog = element("#key", HTMLDialogElement);
element("#key .dismiss", HTMLButtonElement).addEventListener("click", () => dialog.close(""));
const api = new LiveApi({
  base: document.baseURI,
  key: parameters.key ?? keptKey(),
  token: parameters.token ?? "",
  askKey: (refused) => (parameters.overlay ? Promise.resolve(null) : askForKey(dialog, refused)),
});

if (parameters.overlay) showOverlay(parameters, api);
else new CaptionPage(parameters, api);

/** Whoever looks at the screen, or gets the address, has no use for them. */
function hideSecrets() {
  const url = new URL(location.href);
  url.hash = "";
  for (const name of ["key", "token"]) url.searchParams.delete(name);
  history.replaceState(null, "", url);
}
