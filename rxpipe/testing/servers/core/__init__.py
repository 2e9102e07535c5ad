"""What every test server needs and no kind of server is named in: HTTP, faults, a clock, a log of requests."""
