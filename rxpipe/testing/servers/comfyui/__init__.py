"""A ComfyUI server to test against: real HTTP and websockets on a loopback port, three recorded releases, every fault.

`with ComfyUIServer() as server: server.url`. Needs the websockets package (`pip install "rxpipe[comfyui]"`), threads
are daemons; what it draws is a function, the embedded backend by default.
"""

from rxpipe.errors import require

require("A ComfyUI test server", "websockets")

from rxpipe.testing.servers.comfyui.catalog import MODELS, PACKS  # noqa: E402  # after its own words for what is missing
from rxpipe.testing.servers.comfyui.faults import Fault  # noqa: E402  # as above
from rxpipe.testing.servers.comfyui.files import FileStore  # noqa: E402  # as above
from rxpipe.testing.servers.comfyui.server import ComfyUIServer  # noqa: E402  # as above
from rxpipe.testing.servers.comfyui.strangers import Stranger, small_graph  # noqa: E402  # as above
from rxpipe.testing.servers.comfyui.versions import RECORDED  # noqa: E402  # as above
from rxpipe.testing.servers.core.server import serve_forever  # noqa: E402  # as above

__all__ = [
    "MODELS",
    "PACKS",
    "RECORDED",
    "ComfyUIServer",
    "Fault",
    "FileStore",
    "Stranger",
    "serve_forever",
    "small_graph",
]
