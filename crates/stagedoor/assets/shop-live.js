// Fills the live room's chat; the room can be read without it.
const chat = document.querySelector("#chat");
const address = chat?.dataset.events;
if (chat && address) {
  const events = new EventSource(address);
  events.addEventListener("chat", (event) => {
    const { who, words } = JSON.parse(event.data);
    const line = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = who;
    line.append(name, " ", words);
    chat.append(line);
    while (chat.children.length > 60) chat.firstElementChild?.remove();
    chat.scrollTop = chat.scrollHeight;
  });
}
