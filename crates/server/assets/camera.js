// Takes a photo with the device's camera. Offered only where the browser allows it: on this machine, or over TLS.

import { add } from "./answers.js";
import { say } from "./words.js";

/** Connects the button and the window, where there may be a camera. */
export function startCamera() {
  const button = document.querySelector(".photograph");
  const dialog = document.querySelector("dialog.camera");
  if (!button || !window.isSecureContext || !navigator.mediaDevices?.getUserMedia || !dialog.showModal) return;
  const video = dialog.querySelector("video");
  const shoot = dialog.querySelector(".shoot");
  const problem = dialog.querySelector(".problem");
  let stream;
  button.hidden = false;

  button.addEventListener("click", async () => {
    problem.hidden = true;
    video.hidden = false;
    shoot.disabled = true;
    dialog.showModal();
    try {
      const asked = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
      // The window may be closed by now.
      if (!dialog.open) return asked.getTracks().forEach((track) => track.stop());
      stream = asked;
      video.srcObject = stream;
      await video.play();
      shoot.disabled = false;
      shoot.focus();
    } catch (error) {
      if (!dialog.open) return;
      video.hidden = true;
      problem.textContent = say(error.name === "NotAllowedError" ? "camera_denied" : "camera_missing");
      problem.hidden = false;
    }
  });
  shoot.addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    dialog.close();
    add([new File([blob], "photo.jpg", { type: "image/jpeg" })], say("photo"));
  });
  dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = undefined;
    button.focus();
  });
}
