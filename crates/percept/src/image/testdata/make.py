"""Write the small pictures of this folder: one scene in the codings that Rust's encoders cannot write.

The scene is 24 pixels wide and 16 high: red, green / blue, light grey, in quarters. Needs Pillow.
usage: make.py (writes beside itself)
"""
import os
import struct

from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
SCENE = Image.new("RGB", (24, 16))
for left, top, colour in [(0, 0, (220, 30, 30)), (12, 0, (30, 200, 40)), (0, 8, (40, 50, 210)), (12, 8, (200, 200, 200))]:
    SCENE.paste(colour, (left, top, left + 12, top + 8))


def save(name, picture, **options):
    picture.save(os.path.join(HERE, name), **options)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def turned(orientation):
    """The scene stored so that a reader has to apply `orientation` to see it upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return SCENE.transpose(undo[orientation]) if orientation in undo else SCENE


def write_ycck(name):
    """libjpeg writes four components as CMYK; the same bytes with Adobe's transform 2 would be YCCK, so turn
    the colours into Y, Cb, Cr of the inverted picture first, and mark them."""
    import io

    c, m, y, k = SCENE.convert("CMYK").split()  # k is 0 throughout
    luma = Image.merge("RGB", (c, m, y)).convert("YCbCr")
    # YCCK's first three components are the YCbCr coding of 255 minus the stored C, M, Y (K aside).
    buffer = io.BytesIO()
    parts = [p.point(lambda v: 255 - v) for p in luma.split()] + [k]
    Image.merge("CMYK", parts).save(buffer, "JPEG", quality=95, subsampling=0)
    data = bytearray(buffer.getvalue())
    at = data.index(b"Adobe")
    data[at + 11] = 2
    open(os.path.join(HERE, name), "wb").write(data)


for n in range(1, 9):
    save(f"turned_{n}.jpg", turned(n), quality=92, subsampling=0, exif=exif(n))
save("progressive.jpg", SCENE, quality=92, progressive=True)
save("subsampled.jpg", SCENE, quality=92, subsampling=2)
save("grey.jpg", SCENE.convert("L"), quality=92)
save("cmyk.jpg", SCENE.convert("CMYK"), quality=95)
write_ycck("ycck.jpg")
save("palette.png", SCENE.quantize(4))
save("bilevel.png", SCENE.convert("L").point(lambda v: 255 if v > 100 else 0).convert("1"))
save("turned_6.png", turned(6), exif=exif(6))
save("turned_6.webp", turned(6), lossless=True, exif=exif(6).tobytes())
save("turned_6.tiff", turned(6), tiffinfo={0x0112: 6})
save("lossy.webp", SCENE, quality=90)
clear = SCENE.convert("RGBA")
clear.paste((0, 0, 0, 0), (0, 0, 12, 8))
save("alpha.webp", clear, quality=90)
save("animated.webp", SCENE, save_all=True, append_images=[Image.new("RGB", (24, 16))], lossless=True, duration=100)
save("animated.gif", SCENE, save_all=True, append_images=[Image.new("RGB", (24, 16))], duration=100)
transparent = SCENE.quantize(4)
transparent.info["transparency"] = transparent.getpixel((0, 0))
save("transparent.gif", transparent, transparency=transparent.getpixel((0, 0)))
save("lzw.tiff", SCENE, compression="tiff_lzw")
save("cmyk.tiff", SCENE.convert("CMYK"), compression="tiff_deflate")
save("bilevel.tiff", Image.open(os.path.join(HERE, "bilevel.png")), compression="group4")
