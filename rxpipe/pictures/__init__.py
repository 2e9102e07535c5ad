"""Pictures as bytes: what they are, what is written in them, and where faces are. Nothing here knows a run.

```text
png.py        check; read and insert texts       metadata.py  all that any tool wrote into a picture, by the readers:
formats.py    the format by the first bytes        a1111, comfyui, swarmui, fooocus, invokeai, novelai
exif.py       texts of JPEG, WebP, AVIF, GIF     dialect.py   what the readers share
lineage.py    rxpipe's own record                names.py     samplers and schedulers by A1111's names
faces.py      face detection
```
"""
