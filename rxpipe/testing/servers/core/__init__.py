"""What every kind of test server needs: HTTP, faults, a clock, a log of requests."""
