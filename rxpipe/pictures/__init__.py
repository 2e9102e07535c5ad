"""Pictures as bytes: what they are, what is written in them, and where faces are. Nothing here knows a run.

```text
png.py        check; read and insert texts       metadata.py  all that any tool wrote into a picture
formats.py    the format by the first bytes      dialects/    one reader for each tool's metadata
exif.py       texts of JPEG, WebP, AVIF, GIF     a1111.py     A1111's text: written and read
hidden.py     texts in the pixels                names.py     samplers and schedulers by A1111's names
lineage.py    rxpipe's own record                faces.py     face detection
```
"""
