"use strict";
{
  const players = [...document.querySelectorAll("audio")];
  for (const player of players) {
    const clip = player.closest(".clip");
    const follow = () => {
      clip.style.setProperty("--at", player.currentTime / (player.duration || 1));
      if (!player.paused) requestAnimationFrame(follow);
    };
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
      clip.classList.add("playing");
      follow();
    });
    player.addEventListener("pause", () => clip.classList.toggle("playing", player.currentTime > 0 && !player.ended));
    player.addEventListener("seeked", follow);
  }
}
