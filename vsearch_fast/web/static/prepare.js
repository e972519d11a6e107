// Makes a large picture small before it travels: the network looks at a few hundred pixels, and a
// photo of a phone has thousands a side.

const LARGE = 1_000_000; // bytes: what is smaller is sent as it is, to the last bit
const SIDE = 1600; // pixels
const QUALITY = 0.92;

// Formats that browsers may know and servers need not.
const FOREIGN = /^image\/(avif|heic|heif|jxl|svg\+xml)/;

// The file to send; the same one where nothing is to be done, or this browser cannot.
export async function prepared(file, pixels = Infinity) {
  const foreign = FOREIGN.test(file.type);
  if (file.size <= LARGE && !foreign) return file;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return file; // the server tells what it is
  }
  const { width, height } = picture;
  const scale = Math.min(1, SIDE / Math.max(width, height));
  if (scale === 1 && !foreign && width * height <= pixels) {
    picture.close();
    return file;
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#fff"; // what is transparent is not black
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const small = await new Promise((resolve) => {
    canvas.toBlob(resolve, "image/jpeg", QUALITY);
  });
  if (!small || (small.size >= file.size && !foreign)) return file;
  return new File([small], file.name, { type: "image/jpeg" });
}
