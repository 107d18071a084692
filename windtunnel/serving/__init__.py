"""Serving: the protocol, the application, the server."""
