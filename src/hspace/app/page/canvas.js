// A brush over a picture, on a plain 2D canvas. The value is what was painted: a PNG as a data URL, null for nothing.
// Gradio may render the template again when the value changes: what is shown is drawn from here.
const paint = document.createElement("canvas");
let picture = null;
let from = null;

function redraw() {
  const canvas = element.querySelector("canvas");
  canvas.width = paint.width;
  canvas.height = paint.height;
  const pen = canvas.getContext("2d");
  if (picture) pen.drawImage(picture, 0, 0);
  pen.globalAlpha = 0.7;
  pen.drawImage(paint, 0, 0);
}

function place(event) {
  const canvas = element.querySelector("canvas");
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function stroke(to) {
  const pen = paint.getContext("2d");
  pen.lineCap = "round";
  pen.lineWidth = (element.querySelector("input").value / 100) * paint.width;
  pen.strokeStyle = "#ff00aa";
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(to[0] + 0.01, to[1]); // a touch is a dot
  pen.stroke();
  from = to;
  redraw();
}

function clear() {
  paint.getContext("2d").clearRect(0, 0, paint.width, paint.height);
  props.value = null;
  requestAnimationFrame(redraw);
}

element.addEventListener("pointerdown", (event) => {
  if (event.target.tagName !== "CANVAS" || !picture) return;
  event.target.setPointerCapture(event.pointerId);
  from = place(event);
  stroke(from);
});
element.addEventListener("pointermove", (event) => {
  if (from) stroke(place(event));
});
for (const end of ["pointerup", "pointercancel"]) {
  element.addEventListener(end, () => {
    if (!from) return;
    from = null;
    props.value = paint.toDataURL("image/png");
    requestAnimationFrame(redraw);
  });
}
element.addEventListener("click", (event) => {
  if (event.target.tagName === "BUTTON") clear();
});

watch("picture", () => {
  const image = new Image();
  image.onload = () => {
    picture = image;
    paint.width = image.width;
    paint.height = image.height;
    clear();
    element.querySelector("canvas").dataset.ready = "yes";
  };
  image.src = props.picture;
});
