/**
 * The settings dialog: what is changed there is in force, and remembered, at once. It does not know what settings do.
 */

import { listMicrophones } from "../client/microphone.js";
import { element } from "./element.js";

/** @typedef {import("./setting.js").Settings} Settings */

const THEME = "stream-server.theme"; // read by early.js

/** @param {Settings} settings */
export function connectSettings(settings) {
  const dialog = element("#settings", HTMLDialogElement);
  const device = element("#device", HTMLSelectElement);
  element("#open-settings", HTMLButtonElement).addEventListener("click", () => void open());
  device.addEventListener("change", () => settings.change({ deviceId: device.value }));
  connectBox("#opus", "opus", settings);
  connectBox("#stereo", "stereo", settings);
  connectBox("#diarize", "diarize", settings);
  connectBox("#keep-audio", "keepAudio", settings);
  connectBox("#use-shortcuts", "shortcuts", settings);
  connectTheme();

  const open = async () => {
    dialog.showModal();
    const devices = await listMicrophones().catch(() => []);
    const named = devices.filter(({ deviceId }) => deviceId !== "default");
    const options = named.map(({ label, deviceId }) => new Option(label, deviceId));
    const chosen = settings.values.deviceId;
    const isGone = chosen && !named.some(({ deviceId }) => deviceId === chosen);
    if (isGone) options.push(new Option("The one you chose, which is not connected", chosen));
    device.replaceChildren(new Option("The usual one", ""), ...options);
    device.value = chosen;
  };
  return open;
}

/**
 * @param {string} selector
 * @param {"opus" | "stereo" | "diarize" | "keepAudio" | "shortcuts"} name
 * @param {Settings} settings
 */
function connectBox(selector, name, settings) {
  const box = element(selector, HTMLInputElement);
  box.checked = settings.values[name];
  box.addEventListener("change", () => settings.change({ [name]: box.checked }));
}

function connectTheme() {
  const radios = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="theme"]'));
  let chosen = "";
  try {
    chosen = localStorage.getItem(THEME) ?? "";
  } catch {
    // storage is forbidden: as the system
  }
  for (const radio of radios) {
    radio.checked = radio.value === chosen;
    radio.addEventListener("change", () => {
      try {
        if (radio.value) localStorage.setItem(THEME, radio.value);
        else localStorage.removeItem(THEME);
      } catch {
        // then it cannot be chosen
      }
      dispatchEvent(new Event("stream-theme"));
    });
  }
}
