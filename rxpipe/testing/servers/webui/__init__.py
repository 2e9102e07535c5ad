"""A WebUI server to test against: real HTTP on a loopback port, the two recorded servers' behaviour, every fault.

`with WebUIServer() as server: server.url`. Standard library only, threads are daemons; what it draws is a function.
"""

from rxpipe.testing.servers.core.clock import Clock, ManualClock, RealClock
from rxpipe.testing.servers.core.jobs import Interrupt, Job, JobGate
from rxpipe.testing.servers.core.requests import RecordedRequest
from rxpipe.testing.servers.core.server import serve_forever
from rxpipe.testing.servers.drawing import Draw, DrawRequest, Prepared, noise
from rxpipe.testing.servers.webui.faults import Fault
from rxpipe.testing.servers.webui.flavour import FlavourName, openapi
from rxpipe.testing.servers.webui.server import WebUIServer

__all__ = [
    "Clock",
    "Draw",
    "DrawRequest",
    "Fault",
    "FlavourName",
    "Interrupt",
    "Job",
    "JobGate",
    "ManualClock",
    "Prepared",
    "RealClock",
    "RecordedRequest",
    "WebUIServer",
    "noise",
    "openapi",
    "serve_forever",
]
