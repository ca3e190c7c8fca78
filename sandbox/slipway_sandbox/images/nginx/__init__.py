"""A stand-in for nginx as a gateway: its configuration language, its phases, its proxying, on loopback."""

VERSION = "1.29.3"
