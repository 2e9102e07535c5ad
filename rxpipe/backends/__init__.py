"""Where pictures are drawn: one port, one folder or file per kind of server."""
